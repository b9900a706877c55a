//! The page of everything.

use axum::{body::Body, http::Request};
use okr_operator::dashboard::gate::SignedIn;
use serde_json::json;

use crate::world::{Objects, condition, connection, key_result, objective, over, site, titles, words};

#[tokio::test]
async fn a_row_says_how_far_how_far_it_should_be_why_and_when() {
    let site = site([
        objective("sales", "grow", json!({})),
        key_result("sales", "leads", json!({"spec": {"objectiveRef": {"name": "grow"}}})),
        connection("sales", "warehouse", "Warehouse EU"),
    ]);
    let page = site.page("/").await;
    let said = words(&page);
    for part in [
        "1 objective, 1 key result",
        "Behind",
        "Title of leads",
        "sales · growth-team",
        "47 % expected 49.45 %",
        "2,350 leads target 5,000",
        "Warehouse EU",
        "Last sync 1 hour ago , next in 12 minutes",
        "2350 of 5000 leads is 47 % progress, where 49.45 % is expected on 2026-11-15: 2.45 points behind",
    ] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    assert!(page.contains("aria-label=\"Progress 47 %, expected 49.45 %\""));
    assert!(page.contains("<rect class=\"fill\" width=\"47.0\""));
    assert!(page.contains("<line class=\"mark\" x1=\"49.5\""));
    assert!(page.contains("datetime=\"2026-11-15T11:00:00Z\""));
}

#[tokio::test]
async fn the_worst_come_first_and_what_belongs_to_nothing_has_its_own_place() {
    let status = |okr_status: &str, objective: Option<&str>| {
        let reference = objective.map(|name| json!({"name": name}));
        json!({"spec": {"objectiveRef": reference}, "status": {"okrStatus": okr_status}})
    };
    // Of yesterday, so that each status is taken as it stands: no period, no measure by expected progress.
    let kept = |name: &str, change: serde_json::Value| {
        let mut object = key_result("sales", name, change);
        crate::world::merge(
            &mut object,
            json!({"spec": {"period": null, "measure": {"reach": null, "stayAbove": {"target": 1}}}, "status": {"progressPercent": null, "expectedProgressPercent": null}}),
        );
        object
    };
    let failing = json!({"status": {"okrStatus": "OnTrack", "conditions": [condition("Ready", "False", "TableNotFound", "No such table.")]}});
    let site = site([
        objective("sales", "calm", json!({})),
        objective("sales", "troubled", json!({})),
        kept("fine", status("OnTrack", Some("troubled"))),
        kept("worst", status("AtRisk", Some("troubled"))),
        kept("calm-one", status("OnTrack", Some("calm"))),
        kept("loose-closed", status("Closed", None)),
        kept("loose-failing", failing),
        kept("loose-behind", status("Behind", None)),
        kept("loose-going", status("InProgress", None)),
    ]);
    let page = site.page("/").await;
    let order = [
        "troubled",
        "worst",
        "fine",
        "calm",
        "calm-one",
        "loose-behind",
        "loose-failing",
        "loose-going",
        "loose-closed",
    ];
    assert_eq!(titles(&page), order.map(|name| format!("Title of {name}")));
    let loose = page.find("Key results without an objective").unwrap();
    assert!(page.find("Title of calm-one").unwrap() < loose && loose < page.find("Title of loose-behind").unwrap());
}

#[tokio::test]
async fn those_furthest_behind_come_first_within_a_status() {
    let behind = |name: &str, progress: &str, value: &str| {
        key_result("sales", name, json!({"status": {"progressPercent": progress, "value": value}}))
    };
    let site = site([behind("a-little", "49", "2450"), behind("much", "30", "1500"), behind("b-little", "49", "2450")]);
    assert_eq!(titles(&site.page("/").await), ["Title of much", "Title of a-little", "Title of b-little"]);
}

#[tokio::test]
async fn totals_count_everything_that_fits_whatever_its_status() {
    let site = site([
        key_result("sales", "one", json!({})),
        key_result("sales", "two", json!({"spec": {"lifecycle": "Postponed"}, "status": {"okrStatus": "Postponed"}})),
        key_result("shop", "three", json!({})),
    ]);
    let said = words(&site.page("/").await);
    assert!(said.contains("0 objectives, 3 key results"), "{said}");
    assert!(said.contains("2 Behind") && said.contains("1 Postponed"), "{said}");
    let filtered = words(&site.page("/?namespace=sales&status=Postponed").await);
    assert!(filtered.contains("1 Behind") && filtered.contains("1 Postponed"), "{filtered}");
}

#[tokio::test]
async fn filters_are_kept_in_the_address() {
    let site = site([
        objective("sales", "grow", json!({"spec": {"title": "Grow"}})),
        key_result("sales", "leads", json!({"spec": {"objectiveRef": {"name": "grow"}}})),
        key_result(
            "shop",
            "orders",
            json!({"spec": {"owner": "Zoë & co"}, "status": {"connection": {"name": "lake"}}}),
        ),
        connection("shop", "lake", "Data lake"),
        connection("sales", "warehouse", "Warehouse"),
    ]);
    let check = async |address: &str, want: &[&str]| {
        assert_eq!(titles(&site.page(address).await), want, "{address}");
    };
    check("/?namespace=shop", &["Title of orders"]).await;
    check("/?owner=Zo%C3%AB+%26+co", &["Title of orders"]).await;
    check("/?connection=shop/lake", &["Title of orders"]).await;
    // What it belongs to stays, so that it is known where it stands.
    check("/?text=LEADS", &["Grow", "Title of leads"]).await;
    check("/?status=OnTrack", &["Grow"]).await;
    check("/?status=Behind&namespace=sales", &["Grow", "Title of leads"]).await;
    check("/?status=Nonsense&page=x&other=1", &["Grow", "Title of leads", "Title of orders"]).await;
    check("/?text=nothing+like+it", &[]).await;
    check("/?connection=warehouse", &[]).await;
    let page = site.page("/?owner=Zo%C3%AB+%26+co&namespace=shop").await;
    assert!(page.contains("<option value=\"Zoë &#38; co\" selected>"), "{page}");
    assert!(page.contains("href=\"?namespace=shop&#38;owner=Zo%C3%AB+%26+co&#38;status=Behind\""), "{page}");
    // Nobody has these; they are kept all the same.
    let page = site.page("/?owner=gone&connection=warehouse").await;
    assert!(page.contains("<option value=\"gone\" selected>gone</option>"), "{page}");
    assert!(page.contains("<option value=\"warehouse\" selected>warehouse</option>"), "{page}");
    assert!(
        page.contains("href=\"?owner=gone&#38;connection=warehouse&#38;status=Behind\"")
            || page.contains("href=\"?owner=gone&#38;status=Behind&#38;connection=warehouse\""),
        "{page}"
    );
}

#[tokio::test]
async fn pages_repeat_what_their_first_row_belongs_to() {
    let mut objects = vec![objective("sales", "grow", json!({}))];
    objects.extend((0..120).map(|number| {
        key_result("sales", &format!("kr-{number:03}"), json!({"spec": {"objectiveRef": {"name": "grow"}}}))
    }));
    let site = site(objects);
    let first = titles(&site.page("/").await);
    assert_eq!((first.len(), first[0].as_str(), first[49].as_str()), (50, "Title of grow", "Title of kr-048"));
    let second = site.page("/?page=2").await;
    assert_eq!(titles(&second)[..2], ["Title of grow", "Title of kr-049"]);
    assert!(words(&second).contains("Page 2 of 3") && words(&second).contains("120 key results"));
    let last = titles(&site.page("/?page=99").await);
    assert_eq!(last.last().unwrap(), "Title of kr-119");
    assert_eq!(first.len() + titles(&second).len() - 1 + last.len() - 1, 121);
}

#[tokio::test]
async fn one_object_that_cannot_be_read_says_so_and_takes_no_other_with_it() {
    let site = site([
        key_result("sales", "leads", json!({})),
        key_result("sales", "broken", json!({"spec": {"measure": {"reach": {"target": 0.5}}}})),
        key_result("sales", "older", json!({"spec": {"measure": null}})),
        objective("sales", "odd", json!({"status": {"okrStatus": "Splendid"}})),
        json!({"kind": "OkrKeyResult", "metadata": 7}),
    ]);
    let page = site.page("/").await;
    let said = words(&page);
    assert_eq!(titles(&page).len(), 5, "{said}");
    assert!(said.contains("Title of leads"), "{said}");
    assert!(said.contains("Unreadable: InvalidObject . This object does not fit the kind OkrKeyResult"), "{said}");
    assert!(said.contains("missing field `measure`") && said.contains("Splendid"), "{said}");
    assert!(said.contains("4 Failing"), "{said}");
    assert_eq!(titles(&site.page("/?status=Failing").await).len(), 4);
    assert!(words(&site.page("/keyresults/sales/broken").await).contains("does not fit the kind"));
}

#[tokio::test]
async fn what_fails_and_what_is_stale_say_why() {
    let failing = condition("Ready", "False", "TableNotFound", "There is no table sales.leads.");
    let stale = condition("Fresh", "False", "Stale", "The value is two intervals old.");
    let site = site([
        key_result(
            "sales",
            "failing",
            json!({"status": {"conditions": [failing, stale.clone()], "valueTime": "2026-11-15T03:00:00Z"}}),
        ),
        key_result(
            "sales",
            "stale",
            json!({"status": {"conditions": [condition("Ready", "True", "Synced", ""), stale]}}),
        ),
        key_result(
            "sales",
            "resting",
            json!({"status": {"conditions": [condition("Ready", "True", "Suspended", "")]}}),
        ),
    ]);
    let said = words(&site.page("/").await);
    for part in [
        "Failing: TableNotFound . There is no table sales.leads.",
        "Stale: Stale . The value is two intervals old.",
        "Value read 9 hours ago",
        "It is suspended; nothing is sent.",
        "1 Failing",
        "1 Stale",
    ] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    assert_eq!(titles(&site.page("/?status=Stale").await), ["Title of stale"]);
    assert_eq!(titles(&site.page("/?status=Failing").await), ["Title of failing"]);
}

#[tokio::test]
async fn a_status_of_yesterday_is_decided_for_today() {
    let yesterday = json!({"okrStatus": "OnTrack", "value": "2450", "progressPercent": "49", "expectedProgressPercent": "48.35", "explanation": "Of yesterday."});
    let frozen = json!({"okrStatus": "Closed", "value": "2450", "progressPercent": "49", "expectedProgressPercent": "12", "explanation": "Closed."});
    let begun =
        json!({"okrStatus": "NotStarted", "progressPercent": "0", "expectedProgressPercent": "0", "value": "0"});
    let site = site([
        key_result("sales", "leads", json!({"status": yesterday})),
        key_result("sales", "closed", json!({"spec": {"lifecycle": "Closed"}, "status": frozen})),
        key_result("sales", "begun", json!({"spec": {"period": {"startDate": "2026-11-15"}}, "status": begun})),
        objective(
            "sales",
            "grow",
            json!({"status": {"progressPercent": "20", "expectedProgressPercent": "44", "okrStatus": "Behind"}}),
        ),
    ]);
    let said = words(&site.page("/").await);
    assert!(said.contains("Behind Title of leads sales · growth-team Progress 49 %, expected 49.45 %"), "{said}");
    assert!(
        said.contains(
            "2450 of 5000 leads is 49 % progress, where 49.45 % is expected on 2026-11-15: 0.45 points behind"
        ),
        "{said}"
    );
    assert!(!said.contains("Of yesterday."), "{said}");
    assert!(said.contains("Closed Title of closed sales · growth-team Progress 49 %, expected 12 %"), "{said}");
    assert!(said.contains("On Track Title of begun"), "{said}");
    assert!(said.contains("At Risk Title of grow sales · sales-lead Progress 20 %, expected 49.45 %"), "{said}");
    assert!(said.contains("20 % progress where 49.45 % is expected by now: At Risk."), "{said}");
}

#[tokio::test]
async fn a_new_day_leaves_the_sentence_about_the_worst_child() {
    let status = json!({"expectedProgressPercent": "44", "explanation": "60 % progress; the worst child is sales/leads, so OnTrack."});
    let site = site([objective("sales", "grow", json!({"spec": {"statusFrom": "KeyResults"}, "status": status}))]);
    let said = words(&site.page("/").await);
    assert!(said.contains("the worst child is sales/leads") && said.contains("expected 49.45 %"), "{said}");
}

#[tokio::test]
async fn statuses_have_the_order_in_which_a_child_is_the_worst() {
    let of = |name: &str, status: &str| {
        key_result("sales", name, json!({"spec": {"lifecycle": "Closed"}, "status": {"okrStatus": status}}))
    };
    let site = site([of("a", "Postponed"), of("b", "Closed"), of("c", "InProgress"), of("d", "OnTrack")]);
    assert_eq!(titles(&site.page("/").await), ["d", "c", "b", "a"].map(|name| format!("Title of {name}")));
}

#[tokio::test]
async fn an_objective_that_is_not_there_or_leads_back_loses_nothing() {
    let site = site([
        objective("sales", "hen", json!({"spec": {"parentRef": {"name": "egg"}}})),
        objective("sales", "egg", json!({"spec": {"parentRef": {"name": "hen"}}})),
        objective("board", "private", json!({})),
        objective("board", "public", json!({"spec": {"allowedNamespaces": {"from": "All"}}})),
        key_result("sales", "orphan", json!({"spec": {"objectiveRef": {"name": "gone"}}})),
        key_result("sales", "intruder", json!({"spec": {"objectiveRef": {"name": "private", "namespace": "board"}}})),
        key_result("sales", "guest", json!({"spec": {"objectiveRef": {"name": "public", "namespace": "board"}}})),
    ]);
    let page = site.page("/").await;
    let said = words(&page);
    assert_eq!(titles(&page).len(), 7, "{said}");
    assert!(said.contains("counts for this one in turn."), "{said}");
    assert!(said.contains("Its objective sales/gone is not there, or not for you to see."), "{said}");
    assert!(said.contains("Its objective board/private does not admit this namespace."), "{said}");
    let titles = titles(&page);
    let place = |name: &str| titles.iter().position(|title| *title == format!("Title of {name}")).unwrap();
    assert_eq!(place("guest"), place("public") + 1);
}

#[tokio::test]
async fn only_what_may_be_seen_is_shown_anywhere() {
    let site = site([
        objective("board", "secret-objective", json!({"spec": {"allowedNamespaces": {"from": "All"}}})),
        key_result("board", "secret-result", json!({"spec": {"owner": "board-secret"}})),
        connection("board", "lake", "Secret lake"),
        key_result(
            "sales",
            "leads",
            json!({"spec": {"objectiveRef": {"name": "secret-objective", "namespace": "board"}}, "status": {"connection": {"namespace": "board", "name": "lake"}}}),
        ),
        objective(
            "sales",
            "grow",
            json!({"status": {"children": [
                {"kind": "OkrKeyResult", "namespace": "board", "name": "secret-result"},
                {"kind": "OkrKeyResult", "namespace": "sales", "name": "leads"}
            ]}}),
        ),
    ]);
    for address in [
        "/",
        "/?namespace=board",
        "/objectives/sales/grow",
        "/keyresults/sales/leads",
        "/api/v1/keyresults",
        "/api/v1/objectives",
        "/api/v1/connections",
        "/badges/sales/leads.svg",
    ] {
        let text = site.get_as(&["sales"], address).await.text;
        for hidden in
            ["secret-result", "Title of secret", "board-secret", "Secret lake", "billing-project", "value=\"board\""]
        {
            let asked_for = address == "/?namespace=board" && hidden == "value=\"board\"";
            assert!(asked_for || !text.contains(hidden), "{address} shows {hidden}");
        }
    }
    for address in
        ["/keyresults/board/secret-result", "/objectives/board/secret-objective", "/badges/board/secret-result.svg"]
    {
        assert_eq!(site.get_as(&["sales"], address).await.status, 404, "{address}");
        assert_eq!(site.get(address).await.status, 200, "{address}");
    }
}

#[tokio::test]
async fn texts_name_nothing_that_may_not_be_seen() {
    let child = |namespace: &str, name: &str| json!({"kind": "OkrKeyResult", "namespace": namespace, "name": name});
    let worst = "60 % progress; the worst child is board/secret-result, so OnTrack.";
    let ready = |status: &str, reason: &str, message: &str| {
        json!([condition("Ready", status, reason, message), condition("OnTrack", "True", "OnTrack", worst)])
    };
    let cycle = ready("False", "Cycle", "It is a part of itself. The cycle: board/secret-result, sales/grow.");
    let good = ready("True", "RolledUp", "Rolled up.");
    let status = |children: serde_json::Value, count: u32, conditions: &serde_json::Value| json!({"explanation": worst, "childCount": count, "children": children, "conditions": conditions});
    for status in [
        status(json!([child("board", "secret-result")]), 1, &good),
        status(json!([child("sales", "leads")]), 2, &good),
        status(json!([]), 0, &cycle),
    ] {
        let site = site([objective("sales", "grow", json!({"status": status}))]);
        for address in ["/", "/objectives/sales/grow", "/api/v1/objectives"] {
            let text = site.get_as(&["sales"], address).await.text;
            assert!(!text.contains("secret-result"), "{address}: {text}");
            assert!(
                text.contains("60 % progress where 49.45 % is expected by now: On Track. It depends on objects in namespaces that you may not list."),
                "{address}: {text}"
            );
            assert!(site.page(address).await.contains("board/secret-result"), "{address}");
        }
    }
    let site =
        site([objective("sales", "grow", json!({"status": status(json!([child("sales", "leads")]), 1, &good)}))]);
    assert!(site.get_as(&["sales"], "/").await.text.contains("the worst child is"), "nothing is hidden");
}

#[tokio::test]
async fn until_all_is_read_nothing_is_said_to_be_missing() {
    let site = over(Objects::new([key_result("sales", "leads", json!({}))]).unlisted());
    for address in [
        "/objectives/sales/grow",
        "/keyresults/sales/gone",
        "/badges/sales/gone.svg",
        "/api/v1/objectives",
        "/api/v1/keyresults",
        "/api/v1/connections",
    ] {
        let answer = site.get(address).await;
        assert_eq!(answer.status, 503, "{address}");
        assert_eq!(answer.headers["retry-after"], "1", "{address}");
        assert!(answer.text.contains("still reading what exists"), "{address}: {}", answer.text);
    }
    for address in ["/keyresults/sales/leads", "/badges/sales/leads.svg", "/api/v1/openapi.json"] {
        assert_eq!(site.get(address).await.status, 200, "{address}");
    }
    assert_eq!(site.get("/nowhere").await.status, 404);
}

#[tokio::test]
async fn who_came_with_the_cookie_is_offered_the_way_out() {
    let site = site([key_result("sales", "leads", json!({}))]);
    for (address, root) in [("/", "./"), ("/keyresults/sales/leads", "../../"), ("/keyresults/sales/gone", "../../")] {
        let request = Request::get(address).extension(SignedIn("jane <b>".to_owned()));
        let page = site.ask(request.body(Body::empty()).unwrap()).await.text;
        assert!(
            page.contains(&format!(
                "method=\"post\" action=\"{root}logout\"><bdi>jane &#60;b&#62;</bdi> <button>Log out</button>"
            )),
            "{page}"
        );
        assert!(!site.get(address).await.text.contains("Log out"), "{address}");
    }
}

#[tokio::test]
async fn an_empty_and_an_unlisted_catalog_say_so() {
    let said = words(&site([]).page("/").await);
    assert!(said.contains("There is no objective and no key result yet."), "{said}");
    let said = words(&over(Objects::new([]).unlisted()).page("/").await);
    assert!(said.contains("not everything is shown yet") && !said.contains("There is no objective"), "{said}");
}

#[tokio::test]
async fn what_nobody_has_looked_at_yet_says_so() {
    let site = site([
        key_result("sales", "leads", json!({"status": null})),
        objective("sales", "grow", json!({"status": null})),
    ]);
    let said = words(&site.page("/").await);
    assert_eq!(said.matches("The operator has not looked at it yet.").count(), 2, "{said}");
    assert!(said.contains("Not Started Title of leads") && said.contains("no value yet target 5,000"), "{said}");
    assert!(site.page("/keyresults/sales/leads").await.contains("None yet: the operator has not looked at it."));
}
