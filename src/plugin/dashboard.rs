//! `kubectl okr dashboard`: forwards a port to the operator's dashboard and opens it.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use super::{
    Session, Verdict,
    cluster::{ClusterError, Target},
    operator::{self, Operator},
};

/// Opens the operator's dashboard in a browser.
///
/// Forwards a port of this machine to it with kubectl port-forward, until Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct DashboardArguments {
    /// The namespace of the operator. Default: wherever its Deployment is found.
    #[arg(long, value_name = "NAME")]
    pub operator_namespace: Option<String>,
    /// The port of this machine. Default: any that is free.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// The dashboard's port in the pod. Default: what the operator is told, or else 8081.
    #[arg(long)]
    pub remote_port: Option<u16>,
    /// Only prints the address.
    #[arg(long)]
    pub no_open: bool,
}

/// That of `--dashboard-address`, where nothing else is said.
const USUAL_PORT: u16 = 8081;

pub async fn run(
    arguments: &DashboardArguments,
    target: &Target,
    Session { cluster, output, .. }: Session<'_>,
) -> Result<Verdict, ClusterError> {
    let Some(operator) = operator::find(&cluster, arguments.operator_namespace.as_deref()).await?.into_iter().next()
    else {
        output.note(&format!("kubectl okr: {}", operator::NOT_FOUND));
        return Ok(Verdict::CouldNotCheck);
    };
    let served_at = operator.flag("dashboard-address");
    let Operator { namespace, name, .. } = &operator;
    if served_at == Some("off") {
        output.note(&format!(
            "kubectl okr: {namespace}/{name} serves no dashboard, as its --dashboard-address is off: with the chart, set dashboard.enabled=true"
        ));
        return Ok(Verdict::CouldNotCheck);
    }
    let remote_port =
        arguments.remote_port.or_else(|| served_at?.rsplit_once(':')?.1.parse().ok()).unwrap_or(USUAL_PORT);
    let mut command = Command::new("kubectl");
    if let Some(context) = &target.context {
        command.arg("--context").arg(context);
    }
    if let Some(kubeconfig) = &target.kubeconfig {
        command.arg("--kubeconfig").arg(kubeconfig);
    }
    let ports = match arguments.port {
        0 => format!(":{remote_port}"),
        port => format!("{port}:{remote_port}"),
    };
    command.args(["port-forward", "--address", "127.0.0.1", "-n", namespace, &format!("deployment/{name}"), &ports]);
    let mut child = match command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => {
            output.note(&format!("kubectl okr: kubectl cannot be run, and forwards the port: {error}"));
            return Ok(Verdict::CouldNotCheck);
        }
    };
    let mut is_open = false;
    // It says where it listens once it does, and a line for each connection.
    for line in BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok) {
        let Some(address) = forwarded(&line).filter(|_| !is_open) else { continue };
        is_open = true;
        let url = format!("http://{address}/");
        output.text(&format!("The dashboard of {namespace}/{name} is at {url} until you press Ctrl-C.\n"));
        if !arguments.no_open
            && let Err(error) = open::that_detached(&url)
        {
            output.note(&format!("No browser could be opened ({error}): open the address yourself."));
        }
    }
    let ended = child.wait().is_ok_and(|status| status.success());
    Ok(if is_open && ended { Verdict::Fine } else { Verdict::CouldNotCheck })
}

/// The address in kubectl's "Forwarding from 127.0.0.1:40123 -> 8081".
fn forwarded(line: &str) -> Option<&str> {
    line.strip_prefix("Forwarding from ")?.split(" -> ").next()
}
