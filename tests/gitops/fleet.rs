//! A git repository, its artifacts as Flux's source-controller would serve them, and Flux's kustomize-controller.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::{Router, extract::Path as UrlPath, routing::get};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{sync::OnceCell, task::JoinHandle, time::Instant};

use crate::{programs::scratch, support::cluster::Sandbox};

/// Flux looks at health every 5 s, and this machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Stops its controller and its server when dropped.
pub struct Fleet<'a> {
    sandbox: &'a Sandbox,
    /// The work tree.
    folder: PathBuf,
    artifacts: PathBuf,
    url: String,
    server: JoinHandle<()>,
    controller: Child,
    log: PathBuf,
}

impl<'a> Fleet<'a> {
    /// An empty repository, and a controller that works in the sandbox's namespace alone.
    pub async fn start(sandbox: &'a Sandbox) -> Self {
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        INSTALLED.get_or_init(install_crds).await;
        let folder = scratch("fleet", "").with_extension("git");
        let artifacts = scratch("artifacts", "").with_extension("d");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(&artifacts).unwrap();
        git(&folder, &["init", "--quiet", "--initial-branch=main"]);

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = artifacts.clone();
        let file = move |UrlPath(name): UrlPath<String>| async move { std::fs::read(served.join(name)).unwrap() };
        let router = Router::new().route("/{name}", get(file));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

        let log = scratch("kustomize-controller.log", "");
        // Options chosen for tests: no events, no Lease, no jitter.
        let controller = Command::new("kustomize-controller")
            .args(["--watch-all-namespaces=false", "--enable-leader-election=false", "--events-addr="])
            .args(["--metrics-addr=0", "--health-addr=127.0.0.1:0"])
            .args(["--requeue-dependency=2s", "--interval-jitter-percentage=0", "--log-encoding=json"])
            .env("RUNTIME_NAMESPACE", &sandbox.namespace)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&log).unwrap())
            .stderr(std::fs::File::options().append(true).open(&log).unwrap())
            .spawn()
            .expect("kustomize-controller: run `make gitops`");
        Self { sandbox, folder, artifacts, url, server, controller, log }
    }

    /// Puts a file into the work tree. What names the namespace of the examples names this test's.
    pub fn write(&self, path: &str, content: &str) {
        let file = self.folder.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content.replace("okr-demo", &self.sandbox.namespace)).unwrap();
    }

    pub fn remove(&self, path: &str) {
        std::fs::remove_file(self.folder.join(path)).unwrap();
    }

    /// Commits the work tree and reports it as the artifact of GitRepository `fleet`. Returns the revision.
    pub async fn publish(&self) -> String {
        git(&self.folder, &["add", "--all"]);
        git(&self.folder, &["commit", "--quiet", "--message=A change"]);
        let sha = String::from_utf8(git(&self.folder, &["rev-parse", "HEAD"])).unwrap().trim().to_owned();
        let tarball = git(&self.folder, &["archive", "--format=tar.gz", "HEAD"]);
        let file = format!("{sha}.tar.gz");
        std::fs::write(self.artifacts.join(&file), &tarball).unwrap();
        let digest: String = Sha256::digest(&tarball).iter().map(|byte| format!("{byte:02x}")).collect();

        let repositories = self.api("source.toolkit.fluxcd.io", "GitRepository");
        let repository = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": {"name": "fleet"},
            "spec": {"url": "https://example.com/fleet.git", "ref": {"branch": "main"}, "interval": "1m"},
        });
        let ours = PatchParams::apply("tests").force();
        repositories.patch("fleet", &ours, &Patch::Apply(repository)).await.unwrap();
        let revision = format!("main@sha1:{sha}");
        let now = now();
        let status = json!({"status": {
            "observedGeneration": 1,
            "artifact": {
                "path": format!("gitrepository/fleet/{file}"), "url": format!("{}/{file}", self.url), "revision": revision,
                "digest": format!("sha256:{digest}"), "lastUpdateTime": now, "size": tarball.len(),
            },
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored artifact",
                "observedGeneration": 1, "lastTransitionTime": now,
            }],
        }});
        repositories.patch_status("fleet", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        revision
    }

    /// Applies the Kustomizations of a manifest file, to this namespace.
    pub async fn kustomizations(&self, file: &str) {
        let text = std::fs::read_to_string(file).unwrap();
        for manifest in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            self.kustomization(manifest).await;
        }
    }

    pub async fn kustomization(&self, mut manifest: Value) {
        manifest["metadata"]["namespace"] = self.sandbox.namespace.as_str().into();
        let name = manifest["metadata"]["name"].as_str().unwrap().to_owned();
        let ours = PatchParams::apply("tests").force();
        self.all().patch(&name, &ours, &Patch::Apply(manifest)).await.unwrap();
    }

    /// A condition of a Kustomization, if it has that.
    pub async fn condition(&self, name: &str, kind: &str) -> Option<Value> {
        let kustomization = self.all().get(name).await.unwrap();
        let conditions = kustomization.data["status"]["conditions"].as_array()?;
        conditions.iter().find(|condition| condition["type"] == kind).cloned()
    }

    /// Waits until a condition has this status and says these words; returns the message.
    pub async fn await_condition(&self, name: &str, kind: &str, status: &str, words: &str) -> String {
        self.until(&format!("Kustomization {name} is {kind}={status} and says {words}"), || async {
            let condition = self.condition(name, kind).await?;
            let message = condition["message"].as_str().unwrap_or_default();
            (condition["status"] == status && message.contains(words)).then(|| message.to_owned())
        })
        .await
    }

    pub async fn await_ready(&self, name: &str, status: &str, words: &str) -> String {
        self.await_condition(name, "Ready", status, words).await
    }

    /// What `flux reconcile kustomization NAME` does: asks, and waits until it has been done.
    pub async fn reconcile(&self, name: &str) {
        let request = now();
        let patch = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": request}}});
        self.all().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        self.until(&format!("Kustomization {name} is reconciled"), || async {
            let kustomization = self.all().get(name).await.unwrap();
            (kustomization.data["status"]["lastHandledReconcileAt"] == request.as_str()).then_some(())
        })
        .await;
    }

    pub async fn until<T, F: Future<Output = Option<T>>>(&self, what: &str, ask: impl Fn() -> F) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            if Instant::now() > deadline {
                let all = self.all().list(&kube::api::ListParams::default()).await.unwrap();
                let shown: Vec<_> = all.items.iter().map(|one| (&one.metadata.name, &one.data["status"])).collect();
                let log = std::fs::read_to_string(&self.log).unwrap();
                panic!("waited in vain: {what}; {shown:#?}; {log}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn all(&self) -> Api<DynamicObject> {
        self.api("kustomize.toolkit.fluxcd.io", "Kustomization")
    }

    fn api(&self, group: &str, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        Api::namespaced_with(self.sandbox.client.clone(), &self.sandbox.namespace, &resource)
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        self.server.abort();
        // It may have ended before.
        let _ = self.controller.kill();
        let _ = self.controller.wait();
    }
}

/// Flux's definitions, from the modules that its program is built from.
async fn install_crds() {
    let schemas = std::env::var("OKR_SCHEMAS").expect("schemas that dev/launch fetched: run `make gitops`");
    let files = std::fs::read_dir(schemas).unwrap().map(|entry| entry.unwrap().path());
    let of_flux = files.filter(|file| file.to_str().unwrap().contains(".toolkit.fluxcd.io_"));
    let arguments: Vec<String> = of_flux.map(|file| format!("--filename={}", file.display())).collect();
    let apply = ["apply", "--server-side", "--force-conflicts"];
    let output = Command::new("kubectl").args(apply).args(&arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let wait = ["wait", "--for=condition=Established", "--timeout=60s"];
    let output = Command::new("kubectl").args(wait).args(&arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Git with nobody's settings.
fn git(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=Fleet", "-c", "user.email=fleet@example.com"])
        .args(arguments)
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")])
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    output.stdout
}

#[expect(clippy::disallowed_methods, reason = "Flux shares its clock")]
pub fn now() -> String {
    jiff::Timestamp::now().to_string()
}
