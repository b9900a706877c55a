// Keeps an open page current: when the operator says that something changed, the same address is fetched again and
// the content takes the place of the old one. What the reader had open, focused and scrolled to stays.
"use strict";

(() => {
  const PAUSED = "Paused while text is selected";
  const LOST = "Not connected; trying again";
  const live = document.getElementById("live");
  const events = new URL("../events", document.currentScript.src);
  let connected = false;
  let fetching = false;
  let again = false;
  let sent = document.getElementById("main").innerHTML;
  let source = null;
  let paused = false;
  let complaint = null;
  let retry = null;

  const say = (text) => {
    if (live.textContent !== text) live.textContent = text;
  };

  const isOpen = () => source !== null && source.readyState === EventSource.OPEN;

  // Whether somebody marks text of the content, for instance to copy it.
  const isSelected = () => {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && document.getElementById("main").contains(selection.anchorNode);
  };

  // Where the focus is, in words that hold for the new content too.
  const focused = (main) => {
    const element = document.activeElement;
    if (!element || !main.contains(element)) return null;
    if (element.id) return (next) => next.querySelector("#" + CSS.escape(element.id));
    const same = (root) => [...root.querySelectorAll(element.localName)].filter(
      (other) => other.getAttribute("href") === element.getAttribute("href") && other.textContent === element.textContent);
    const place = same(main).indexOf(element);
    const index = [...main.querySelectorAll(element.localName)].indexOf(element);
    return (next) => same(next)[place] || next.querySelectorAll(element.localName)[index] || next;
  };

  // Of a chart's points one is in the order of Tab, the others are reached by arrows: a hundred stops are too many.
  const rove = (root) => root.querySelectorAll(".chart").forEach((chart) => {
    const points = [...chart.querySelectorAll(".point")];
    const current = points.includes(document.activeElement) ? document.activeElement : points[points.length - 1];
    points.forEach((point) => point.setAttribute("tabindex", point === current ? "0" : "-1"));
  });

  const step = (event) => {
    const point = event.target.closest && event.target.closest(".point");
    if (!point) return;
    const points = [...point.parentNode.querySelectorAll(".point")];
    const at = points.indexOf(point);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: points.length - 1 }[event.key];
    if (to === undefined || !points[to]) return;
    event.preventDefault();
    points[to].focus();
    rove(document);
  };

  const replace = (next) => {
    const main = document.getElementById("main");
    // As the server sent it: what is open here and which point is focused are not in it.
    if (sent === next.innerHTML) return;
    // Text that somebody is copying must not go from under them; the end of the selection shows this change too.
    if (isSelected()) {
      paused = true;
      say(PAUSED);
      return;
    }
    const find = focused(main);
    sent = next.innerHTML;
    const open = new Map([...main.querySelectorAll("details[id]")].map((details) => [details.id, details.open]));
    next.querySelectorAll("details[id]").forEach((details) => {
      if (open.has(details.id)) details.open = open.get(details.id);
    });
    const { scrollX, scrollY } = window;
    main.replaceWith(next);
    window.scrollTo(scrollX, scrollY);
    const element = find && find(next);
    if (element) element.focus({ preventScroll: true });
    rove(next);
  };

  const refresh = async () => {
    if (fetching) {
      again = true;
      return;
    }
    fetching = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      // A login that has ended is shown by the page itself, not within it.
      if (answer.redirected || answer.status === 401) location.reload();
      const text = await answer.text();
      const next = new DOMParser().parseFromString(text, "text/html").getElementById("main");
      if (next && (answer.ok || answer.status === 404)) replace(document.adoptNode(next));
    } catch {
      // The operator restarts: the stream says so, and comes again.
    }
    fetching = false;
    if (again) {
      again = false;
      refresh();
    }
  };

  // Said after a while: with a login the stream is ended every 30 s and comes again at once, and a screen reader would
  // read that out each time.
  const complain = () => {
    complaint ??= setTimeout(() => say(LOST), 5000);
  };

  const listen = () => {
    source = new EventSource(events);
    source.addEventListener("open", () => {
      clearTimeout(complaint);
      complaint = null;
      say(paused ? PAUSED : "Live");
      if (connected) refresh();
      connected = true;
    });
    source.addEventListener("changed", refresh);
    source.addEventListener("error", () => {
      complain();
      // A browser gives up on an answer that is no stream, such as a proxy's error while the operator restarts.
      if (source.readyState === EventSource.CLOSED) {
        connected = true;
        retry = setTimeout(listen, 3000);
      }
    });
  };

  // A page that nobody looks at listens to nothing: over HTTP/1.1 a browser has six connections to a host, and six
  // such tabs would leave none for a seventh.
  const rest = () => {
    clearTimeout(retry);
    clearTimeout(complaint);
    complaint = null;
    if (source) source.close();
    source = null;
  };

  document.addEventListener("visibilitychange", () => {
    rest();
    if (document.hidden) return;
    // So that nothing between this fetch and the stream's beginning is lost, its beginning fetches once more.
    connected = true;
    refresh();
    listen();
  });
  document.addEventListener("selectionchange", () => {
    if (!paused || isSelected()) return;
    paused = false;
    say(isOpen() ? "Live" : LOST);
    refresh();
  });
  // Words such as "4 minutes ago" age by themselves.
  setInterval(() => {
    if (!document.hidden) refresh();
  }, 60000);
  document.addEventListener("keydown", step);
  rove(document);
  if (!document.hidden) listen();
})();
