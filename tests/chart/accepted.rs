//! What the chart renders, before a real API server, before the schemas of the oldest and of this Kubernetes, and before the Pod
//! Security Standard "restricted".

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde_json::{Map, Value, json};

use crate::{Set, apply, documents, is_hook, must, objects, of_kind, root, run, sets, text};

/// Namespaces that the sets of values name, and the definitions of kinds that they use. The first is closed to pods that are
/// not restricted.
pub fn prepare() {
    static PREPARED: OnceLock<()> = OnceLock::new();
    PREPARED.get_or_init(|| {
        let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let mut own = namespace("okr-system");
        own["metadata"]["labels"] = json!({
            "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest",
        });
        for object in [own, namespace("sales"), namespace("finance"), namespace("2024"), namespace("1e3")] {
            apply(&object.to_string());
        }
        apply(&std::fs::read_to_string(schemas().join("monitoring.coreos.com_servicemonitors.yaml")).unwrap());
        apply(&std::fs::read_to_string(schemas().join("monitoring.coreos.com_prometheusrules.yaml")).unwrap());
        for kind in ["bigqueryconnections", "okrkeyresults", "okrobjectives"] {
            apply(&std::fs::read_to_string(root().join(format!("crds/{kind}.yaml"))).unwrap());
        }
        must("kubectl", &["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"], "");
        // A pod is refused before anything else where its ServiceAccount is not there.
        let all: Vec<Value> = sets().iter().flat_map(|set| objects(&set.rendered)).collect();
        let rendered = of_kind(&all, "ServiceAccount").map(|account| text(&account["metadata"]["name"]));
        for name in rendered.chain(["existing"]).collect::<BTreeSet<_>>() {
            let object = json!({
                "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "okr-system"},
            });
            apply(&object.to_string());
        }
    });
}

fn schemas() -> PathBuf {
    PathBuf::from(std::env::var("OKR_SCHEMAS").expect("schemas that dev/launch fetched: run `make test`"))
}

#[test]
fn a_real_api_server_takes_every_rendering() {
    prepare();
    for set in sets() {
        must("kubectl", &["apply", "--dry-run=server", "--validate=strict", "-f", "-"], &set.rendered);
    }
    must("kubectl", &["apply", "--dry-run=server", "--validate=strict", "-k", "gitops/install"], "");
}

/// The pod of a rendering's Deployment, and that of its test.
fn pods(rendered: &[Value]) -> Vec<Value> {
    let template = of_kind(rendered, "Deployment").map(|deployment| {
        let mut pod = deployment["spec"]["template"].clone();
        pod["metadata"]["generateName"] = json!("okr-operator-");
        pod
    });
    let of_test = of_kind(rendered, "Pod").filter(|pod| is_hook(pod)).cloned();
    template
        .chain(of_test)
        .map(|pod| {
            let mut pod = pod;
            (pod["apiVersion"], pod["kind"], pod["metadata"]["namespace"]) =
                (json!("v1"), json!("Pod"), json!("okr-system"));
            pod
        })
        .collect()
}

#[test]
fn every_pod_is_restricted() {
    prepare();
    let create = |pod: &Value| run("kubectl", &["create", "--dry-run=server", "-f", "-"], &pod.to_string());
    for set in sets() {
        let pods = pods(&objects(&set.rendered));
        assert!(!pods.is_empty(), "{}", set.name);
        for pod in pods {
            create(&pod).unwrap_or_else(|said| panic!("{}: {said}", set.name));
            for container in pod["spec"]["containers"].as_array().unwrap() {
                assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{}", set.name);
                assert!(container["resources"]["limits"]["memory"].is_string(), "{}", set.name);
            }
        }
    }
    let mut loose = pods(&objects(&sets()[0].rendered)).remove(0);
    loose["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    let said = create(&loose).expect_err("the namespace takes restricted pods alone");
    assert!(said.contains("violates PodSecurity \"restricted"), "{said}");
}

/// Grants, in one namespace, what the cluster's own role edit or admin is made of, and our role for connections.
#[test]
fn people_get_what_their_roles_say() {
    prepare();
    let rendered = &sets().iter().find(|set| set.name == "defaults").unwrap().rendered;
    let roles = documents(rendered).into_iter().filter(|(_, object)| {
        let labels = &object["metadata"]["labels"];
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        object["kind"] == "ClusterRole" && labels.is_object() && name != "okr-operator" && !is_hook(object)
    });
    let roles: Vec<String> = roles.map(|(text, _)| text).collect();
    assert_eq!(roles.len(), 4);
    apply(&roles.join("\n---\n"));
    for role in ["view", "edit", "admin", "okr-operator-connections"] {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": format!("chart-{role}"), "namespace": "sales"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("chart-{role}")}],
        });
        apply(&binding.to_string());
    }
    check_may("view", "list", "bigqueryconnections", true);
    check_may("view", "patch", "okrkeyresults", false);
    check_may("edit", "create", "okrkeyresults", true);
    check_may("edit", "patch", "okrobjectives", true);
    check_may("edit", "get", "bigqueryconnections", true);
    check_may("admin", "delete", "bigqueryconnections", true);
    for role in ["view", "edit", "admin"] {
        for verb in ["create", "update", "patch"] {
            check_may(role, verb, "bigqueryconnections", false);
        }
    }
    check_may("okr-operator-connections", "create", "bigqueryconnections", true);
    check_may("okr-operator-connections", "create", "okrkeyresults", false);
}

#[track_caller]
fn check_may(role: &str, verb: &str, plural: &str, wanted: bool) {
    let (user, resource) = (format!("--as=chart-{role}"), format!("{plural}.okr-operator.dev"));
    let ask = || run("kubectl", &["auth", "can-i", verb, &resource, "--namespace=sales", &user], "").is_ok();
    // Roles are aggregated by a controller, which takes a moment; what is not allowed is asked after something that is.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while wanted && !ask() {
        assert!(std::time::Instant::now() < deadline, "{role} may not {verb} {plural}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(ask(), wanted, "{role}: {verb} {plural}");
}

/// What NOTES.txt tells people to apply.
#[test]
fn the_notes_tell_commands_that_work() {
    prepare();
    for set in sets() {
        // As on a cluster, but asking none.
        let arguments = [
            "install",
            "okr-operator",
            crate::CHART,
            "--namespace=okr-system",
            "--dry-run=client",
            "--values",
            &set.file,
        ];
        let said = must("helm", &arguments, "");
        let (_, notes) = said.split_once("\nNOTES:\n").unwrap_or_else(|| panic!("{}: no notes", set.name));
        // Not indented: a shell would not find the end of it.
        let (_, rest) = notes.split_once("<<END\n").unwrap();
        let (manifest, _) = rest.split_once("\nEND\n").unwrap();
        must("kubectl", &["apply", "--namespace=sales", "--dry-run=server", "-f", "-"], manifest);
        for number in ["\n1. ", "\n2. ", "\n3. "] {
            assert!(notes.contains(number), "{}: {notes}", set.name);
        }
    }
}

#[test]
fn kubeconform_takes_every_rendering_by_the_schemas_of_two_versions() {
    prepare();
    let all = sets().iter().flat_map(|set| objects(&set.rendered));
    let kinds: BTreeSet<(String, String)> =
        all.map(|object| (text(&object["apiVersion"]).to_owned(), text(&object["kind"]).to_owned())).collect();
    for version in ["1.33", "running"] {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("schemas-{version}"));
        std::fs::create_dir_all(&folder).unwrap();
        let mut descriptions = BTreeMap::new();
        for (api_version, kind) in &kinds {
            let description = descriptions.entry(api_version).or_insert_with(|| openapi(version, api_version));
            let schema = schema_of(description, api_version, kind);
            std::fs::write(folder.join(schema_file(api_version, kind)), schema.to_string()).unwrap();
        }
        let location = format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", folder.display());
        for Set { name, rendered, .. } in sets() {
            let said = run("kubeconform", &["-strict", "-summary", "-schema-location", &location, "-"], rendered);
            let said = said.unwrap_or_else(|said| panic!("{name} by the schemas of {version}: {said}"));
            assert!(said.contains("Invalid: 0, Errors: 0, Skipped: 0"), "{name}: {said}");
        }
        let wrong =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": {"replica": 1}});
        let said = run("kubeconform", &["-strict", "-schema-location", &location, "-"], &wrong.to_string());
        assert!(said.is_err_and(|said| said.contains("replica")), "the schemas are strict");
    }
}

/// As kubeconform fills in `{{.ResourceKind}}{{.KindSuffix}}`.
fn schema_file(api_version: &str, kind: &str) -> String {
    let suffix = match api_version.split_once('/') {
        Some((group, version)) => format!("{}-{version}", group.split('.').next().unwrap_or(group)),
        None => api_version.to_owned(),
    };
    format!("{}-{suffix}.json", kind.to_lowercase())
}

/// The description of a group's version: the running server's, or that of 1.33 where it is Kubernetes' own.
fn openapi(version: &str, api_version: &str) -> Value {
    let path = if api_version.contains('/') { format!("apis/{api_version}") } else { format!("api/{api_version}") };
    let file = schemas().join(format!("{}_openapi.json", path.replace('/', "__")));
    let description = match version {
        "1.33" if !api_version.starts_with("monitoring.coreos.com/") => std::fs::read_to_string(file).unwrap(),
        _ => must("kubectl", &["get", "--raw", &format!("/openapi/v3/{path}")], ""),
    };
    serde_json::from_str(&description).unwrap()
}

/// The schema of a kind with all that it refers to, which takes no fields that it does not know.
fn schema_of(description: &Value, api_version: &str, kind: &str) -> Value {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let wanted = json!({"group": group, "version": version, "kind": kind});
    let all = description["components"]["schemas"].as_object().unwrap();
    let is_wanted = |schema: &Value| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.is_some_and(|kinds| kinds.contains(&wanted))
    };
    let (name, _) = all.iter().find(|(_, schema)| is_wanted(schema)).unwrap_or_else(|| panic!("no schema of {wanted}"));
    let mut needed = Map::new();
    let mut open = vec![name.clone()];
    while let Some(name) = open.pop() {
        if needed.contains_key(&name) {
            continue;
        }
        let mut schema = all[&name].clone();
        close(&mut schema);
        references(&schema, &mut open);
        needed.insert(name, schema);
    }
    json!({"$ref": format!("#/components/schemas/{name}"), "components": {"schemas": needed}})
}

fn close(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(close);
        let is_open = schema.get("x-kubernetes-preserve-unknown-fields").is_some_and(|open| open == true);
        if !is_open && !schema.contains_key("additionalProperties") {
            schema.insert("additionalProperties".to_owned(), json!(false));
        }
    }
    for inner in ["items", "additionalProperties"] {
        schema.get_mut(inner).into_iter().for_each(close);
    }
}

fn references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
            into.extend(name.map(str::to_owned));
            map.values().for_each(|value| references(value, into));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, into)),
        _ => {}
    }
}
