//! Chromium, driven through ChromeDriver (`dev/browser` installs both). WebDriver is a few JSON calls over HTTP, which
//! the client at hand makes: a crate for it would bring two dozen more.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    time::Instant,
};

/// Long enough for a machine that is busy with other tests; what comes is seen at once.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The name that WebDriver gives the reference to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser of the test's own, with an empty profile. It ends with the test.
pub struct Browser {
    driver: Child,
    /// The profile and whatever else Chromium writes.
    folder: PathBuf,
    http: reqwest::Client,
    /// `http://127.0.0.1:PORT/session/ID`
    session: String,
}

#[allow(dead_code, reason = "made for all pages; what a test needs next is here")]
impl Browser {
    /// A window of 1280x800, light.
    pub async fn start() -> Self {
        let port = free_port();
        let mut command = Command::new("chromedriver");
        let folder = std::env::temp_dir().join(format!("okr-browser-{port}"));
        std::fs::create_dir_all(&folder).unwrap();
        command
            .arg(format!("--port={port}"))
            .env("TMPDIR", &folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        // The browser is a child of the driver; in one group, both can be ended together.
        command.process_group(0);
        let driver = command.spawn().expect("chromedriver is not on PATH: dev/browser installs it");
        // Not through a proxy that the environment may name.
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut browser = Self { driver, folder, http, session: format!("http://127.0.0.1:{port}") };
        browser
            .until("chromedriver listens", async |browser| {
                let status = browser.http.get(format!("{}/status", browser.session)).send().await.ok()?;
                status.json::<Value>().await.ok()?["value"]["ready"].as_bool().filter(|&ready| ready)
            })
            .await;
        let mut arguments =
            vec!["--headless=new", "--window-size=1280,800", "--hide-scrollbars", "--disable-dev-shm-usage"];
        // Chromium's sandbox refuses to work for root.
        if is_root() {
            arguments.push("--no-sandbox");
        }
        let capabilities = json!({"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": {"args": arguments},
            // For `complaints`.
            "goog:loggingPrefs": {"browser": "ALL"},
        }});
        let answer = browser.call(Method::POST, "/session", json!({"capabilities": capabilities})).await;
        browser.session = format!("{}/session/{}", browser.session, answer["sessionId"].as_str().unwrap());
        browser.size(1280, 800).await;
        browser.scheme("light").await;
        browser
    }

    /// Opens an address and waits until it is loaded.
    pub async fn goto(&self, url: &str) {
        self.post("/url", json!({"url": url})).await;
    }

    /// The address and the query, without scheme and host.
    pub async fn path(&self) -> String {
        self.eval("location.pathname + location.search").await.as_str().unwrap().to_owned()
    }

    /// The text of an element as a reader sees it; waits until it is there.
    pub async fn text(&self, css: &str) -> String {
        let element = self.element(css).await;
        self.call(Method::GET, &format!("/element/{element}/text"), Value::Null).await.as_str().unwrap().to_owned()
    }

    /// Waits until the element `css` says `words`.
    pub async fn await_text(&self, css: &str, words: &str) {
        // In one step: a live page may put another element in its place between two.
        let (css, words) = (json!(css), json!(words));
        self.await_true(&format!("document.querySelector({css})?.innerText.includes({words}) === true")).await;
    }

    /// An attribute; None where the element has none of that name. Waits until the element is there.
    pub async fn attr(&self, css: &str, name: &str) -> Option<String> {
        let element = self.element(css).await;
        let value = self.call(Method::GET, &format!("/element/{element}/attribute/{name}"), Value::Null).await;
        value.as_str().map(str::to_owned)
    }

    /// How many elements there are now.
    pub async fn count(&self, css: &str) -> usize {
        self.post("/elements", json!({"using": "css selector", "value": css})).await.as_array().unwrap().len()
    }

    /// A click where a reader would click: what is covered or outside the page fails.
    pub async fn click(&self, css: &str) {
        let element = self.element(css).await;
        self.post(&format!("/element/{element}/click"), json!({})).await;
    }

    /// Types into a field.
    pub async fn fill(&self, css: &str, text: &str) {
        let element = self.element(css).await;
        self.post(&format!("/element/{element}/value"), json!({"text": text})).await;
    }

    /// Presses one key, wherever the focus is: a character, or Tab, Enter, Escape, Space, an arrow.
    pub async fn press(&self, key: &str) {
        let code = match key {
            "Tab" => "\u{e004}",
            "Enter" => "\u{e007}",
            "Escape" => "\u{e00c}",
            "Space" => " ",
            "ArrowLeft" => "\u{e012}",
            "ArrowUp" => "\u{e013}",
            "ArrowRight" => "\u{e014}",
            "ArrowDown" => "\u{e015}",
            character => character,
        };
        let strokes = json!([{"type": "keyDown", "value": code}, {"type": "keyUp", "value": code}]);
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": strokes});
        self.post("/actions", json!({"actions": [keyboard]})).await;
    }

    /// The value of an expression; of a promise, what it comes to. It runs whatever the page's own policy forbids.
    pub async fn eval(&self, js: &str) -> Value {
        self.run(&format!("return ({js})")).await
    }

    /// What a script returns; as `eval`.
    pub async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []})).await
    }

    /// Waits until an expression is true.
    pub async fn await_true(&self, js: &str) {
        self.until(js, async |browser| (browser.eval(js).await == Value::Bool(true)).then_some(())).await;
    }

    /// The tab that commands go to.
    pub async fn window(&self) -> String {
        self.call(Method::GET, "/window", Value::Null).await.as_str().unwrap().to_owned()
    }

    /// An empty tab in front of the others.
    pub async fn open_tab(&self) {
        let tab = self.post("/window/new", json!({"type": "tab"})).await;
        self.show(tab["handle"].as_str().unwrap()).await;
    }

    /// Brings a tab to the front.
    pub async fn show(&self, window: &str) {
        self.post("/window", json!({"handle": window})).await;
        self.devtools("Page.bringToFront", json!({})).await;
    }

    /// A cookie with its attributes, those that scripts may not read too.
    pub async fn cookie(&self, name: &str) -> Option<Value> {
        let cookies = self.call(Method::GET, "/cookie", Value::Null).await;
        cookies.as_array().unwrap().iter().find(|cookie| cookie["name"] == name).cloned()
    }

    /// What the console has complained about since the last question, such as a breach of the page's policy.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({"type": "browser"})).await;
        let entries = entries.as_array().unwrap().iter();
        let bad = entries.filter(|entry| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING")));
        bad.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// `light` or `dark`, as the reader's system prefers it.
    pub async fn scheme(&self, scheme: &str) {
        self.media(&[("prefers-color-scheme", scheme)]).await;
    }

    /// Media features, such as `prefers-reduced-motion`: these and no others.
    pub async fn media(&self, features: &[(&str, &str)]) {
        let features: Vec<Value> = features.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// The page as it is printed, where the reader's system prefers `scheme`.
    pub async fn paper(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.devtools("Emulation.setEmulatedMedia", json!({"media": "print", "features": features})).await;
    }

    /// How many pages of A4 it is.
    pub async fn sheets(&self) -> usize {
        let parameters = json!({"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": false});
        let pdf = self.devtools("Page.printToPDF", parameters).await;
        let pdf = BASE64_STANDARD.decode(pdf["data"].as_str().unwrap()).unwrap();
        pdf.windows(b"/Type /Page\n".len()).filter(|&text| text == b"/Type /Page\n").count()
    }

    /// The size of the page, in CSS pixels; a window cannot be as narrow as a phone. Below 500 it is a phone.
    pub async fn size(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// The whole page as target/screenshots/NAME.png.
    pub async fn screenshot(&self, name: &str) -> PathBuf {
        let picture =
            self.devtools("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true})).await;
        let bytes = BASE64_STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.png"));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Whether something is wider than the page, so that a phone would scroll sideways.
    pub async fn overflows(&self) -> bool {
        self.eval("document.documentElement.scrollWidth > document.documentElement.clientWidth").await == true
    }

    /// A command of the Chrome DevTools Protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", json!({"cmd": command, "params": parameters})).await
    }

    /// The first such element; waits until there is one.
    async fn element(&self, css: &str) -> String {
        self.until(&format!("there is {css}"), async |browser| {
            let found = browser.post("/elements", json!({"using": "css selector", "value": css})).await;
            found.get(0).and_then(|element| element[ELEMENT].as_str()).map(str::to_owned)
        })
        .await
    }

    async fn until<T>(&self, what: &str, ask: impl AsyncFn(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask(self).await {
                return answer;
            }
            assert!(Instant::now() < deadline, "waited {} s in vain: {what}", PATIENCE.as_secs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.call(Method::POST, path, body).await
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self.http.request(method, format!("{}{path}", self.session));
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.expect("chromedriver answers");
        let is_good = answer.status().is_success();
        let value = answer.json::<Value>().await.expect("chromedriver answers in JSON")["value"].take();
        assert!(is_good, "{path} {body}: {}: {}", value["error"], value["message"]);
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver's whole group: killed alone, it would leave Chromium behind.
        if let Some(id) = self.driver.id() {
            let _ = std::process::Command::new("kill").args(["-KILL", "--", &format!("-{id}")]).status();
        }
        // The last of them may write for a moment yet.
        for _ in 0..50 {
            if std::fs::remove_dir_all(&self.folder).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn is_root() -> bool {
    std::process::Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

/// Serves `router` on this machine while the test runs.
pub async fn serve(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// For a gate behind which all that exists is known.
pub fn listed() -> tokio_util::sync::CancellationToken {
    let listed = tokio_util::sync::CancellationToken::new();
    listed.cancel();
    listed
}
