//! Orders against the product and against others: rate, time of a finalize, CPU for each certificate.

use std::time::Duration;

use instant_acme::{Account, AccountBuilder, Error};

use crate::clients::{CLIENTS, Clients, Limits, Load, Names, block_on};
use crate::harness::Demo;
use crate::process::cpu_seconds;
use crate::responder::Responder;
use crate::zone::Zone;

/// A load with what it cost the server.
pub(crate) struct Measured {
    pub(crate) rate: f64,
    /// Milliseconds of the server's CPU for each certificate.
    pub(crate) milliseconds: f64,
}

impl Measured {
    /// Says how a load went that cost the server these seconds of CPU.
    pub(crate) fn say(what: &str, load: &Load, cpu: f64) -> Self {
        let measured = Self { rate: load.rate(), milliseconds: cpu * 1000.0 / load.issued() as f64 };
        println!("{what}, {CLIENTS} clients on the same cores: {:.0} a second ({load})", measured.rate);
        println!(
            "CPU for each certificate: {:.2} ms of the server in {:.1} requests, {:.2} ms of the clients",
            measured.milliseconds,
            load.requests(),
            load.clients_milliseconds()
        );
        measured
    }
}

/// A server, with clients that have accounts there, and what they order.
pub(crate) struct Course {
    processes: Vec<u32>,
    clients: Clients,
    names: Names,
}

impl Course {
    /// Makes accounts for it.
    pub(crate) async fn begin(
        processes: &[u32],
        bundle: &str,
        names: Names,
        account: impl AsyncFn(AccountBuilder) -> Result<Account, Error>,
    ) -> Self {
        Self { processes: processes.to_vec(), clients: Clients::enrol(bundle, account).await, names }
    }

    /// At the product, for names that a grant covers.
    pub(crate) async fn granted(demo: &Demo) -> Self {
        Self::of(demo, Names::Granted(demo.fact("DEMO_NAME").to_owned())).await
    }

    /// At the product, for these names.
    pub(crate) async fn of(demo: &Demo, names: Names) -> Self {
        Self::begin(&[demo.process_id()], demo.fact("CA_BUNDLE"), names, async |builder| demo.account_by(builder).await).await
    }

    /// Orders, with the seconds of CPU that the server's processes spent meanwhile.
    pub(crate) async fn run(&self, limits: Limits) -> (Load, f64) {
        let cpu = || self.processes.iter().map(|pid| cpu_seconds(*pid)).sum::<f64>();
        let before = cpu();
        let load = self.clients.order(&self.names, limits).await;
        (load, cpu() - before)
    }
}

fn load_of_granted(demo: &Demo, limits: Limits) -> (Load, f64) {
    block_on(async { Course::granted(demo).await.run(limits).await })
}

/// Orders in one process of a name that a grant covers.
pub(crate) fn granted(demo: &Demo, span: Duration) -> Measured {
    let (load, cpu) = load_of_granted(demo, Limits::span(span));
    let measured = Measured::say("ACME orders", &load, cpu);
    println!("(aim where a grant covers the name: below 1 ms of the server)");
    measured
}

/// At half of what it can do: how long a finalize takes then.
pub(crate) fn half_load(demo: &Demo, rate: f64, span: Duration) {
    let pace = Duration::from_secs_f64(2.0 * CLIENTS as f64 / rate);
    let (load, _) = load_of_granted(demo, Limits { pace: Some(pace), ..Limits::span(span) });
    println!("at half load, {:.0} orders a second: {load} (aim: 99 % below 50 ms)", load.rate());
}

/// The same load on the same instance when it remembers nothing outside the database: what the anchor costs.
pub(crate) fn without_anchor(mut demo: Demo, span: Duration) -> Demo {
    demo.stop();
    let file = demo.var().join("ca.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    let (before, rest) = text.split_once("[anchor]").expect("the demonstration has an anchor");
    let (_, after) = rest.split_once("\n[").expect("other sections follow");
    std::fs::write(&file, format!("{before}[{after}")).expect("the folder is writable");
    demo.launch(&[]);
    let (load, cpu) = load_of_granted(&demo, Limits::span(span));
    Measured::say("ACME orders without the anchor", &load, cpu);
    demo.stop();
    std::fs::write(&file, text).expect("the folder is writable");
    demo.launch(&[]);
    demo
}

/// Opens a zone in a demonstration, for more new names than any of its clients may order in an hour.
pub(crate) fn zone(demo: &mut Demo) -> Zone {
    let file = demo.var().join("ca.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    let limits = "\n[acme.limits]\norders = { account = \"off\", grant = \"off\", network = \"off\", name = \"off\" }\n";
    std::fs::write(&file, text + limits).expect("the folder is writable");
    Zone::open(demo, "")
}

/// Orders of names that are challenged instead: each a new one, looked up and asked by http-01.
pub(crate) fn challenged(demo: &Demo, zone: &Zone, span: Duration) {
    let (load, cpu) = block_on(async { Course::of(demo, below(zone).await).await.run(Limits::span(span)).await });
    Measured::say("ACME orders with http-01", &load, cpu);
}

/// Names of a zone, with a web server that proves them.
pub(crate) async fn below(zone: &Zone) -> Names {
    Names::Challenged(Zone::NAME.to_owned(), Responder::listen(zone.http_port).await)
}
