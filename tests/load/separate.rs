//! The same orders where the front end, the responder and the worker are processes of three users.

use std::process::Command;
use std::time::Duration;

use crate::clients::{Limits, Names, block_on};
use crate::harness::succeeds;
use crate::orders::{Course, Measured};
use crate::process::resident_megabytes;
use crate::site::{Site, User};

/// Says how they do beside one process's.
pub(crate) fn processes(together: &Measured, span: Duration) {
    if !succeeds(Command::new("sh").args(["-c", "test $(id -u) = 0 && command -v setpriv"])) {
        println!("orders across separate processes: this needs root and setpriv, so nothing was measured");
        return;
    }
    let site = Site::start();
    let users = [User::Worker, User::Acme, User::Responder];
    let (load, cpu) = block_on(async {
        let account = async |builder| site.account_by(builder).await;
        let names = Names::Granted(site.fact("DEMO_NAME").to_owned());
        let course = Course::begin(&users.map(|user| site.pid(user)), site.fact("CA_BUNDLE"), names, account).await;
        course.run(Limits::span(span)).await
    });
    let apart = Measured::say("ACME orders across three processes", &load, cpu);
    println!("that is {:.0}% of one process's rate", 100.0 * apart.rate / together.rate);
    for user in users {
        println!("memory of {user:?}: {:.1} MB", resident_megabytes(site.pid(user)));
    }
    site.stop();
}
