//! A contender that runs, and one measurement of it.

use std::time::Duration;

use crate::contenders::{Contender, Program, Store};
use crate::cpu::Snapshot;
use crate::error::Result;
use crate::load::{self, Browser, Scenario};
use crate::options::Options;
use crate::process::{self, Process, free_port};
use crate::runs::Run;
use crate::servers::{self, Server};

/// How many sessions the requests go to.
const SESSIONS: usize = 1_000;

/// A contender that runs.
pub(crate) struct Site {
    pub(crate) contender: Contender,
    pub(crate) process: Process,
    pub(crate) place: String,
    pub(crate) browsers: Vec<Browser>,
}

impl Site {
    pub(crate) async fn start(
        options: &Options,
        server: &Server,
        contender: Contender,
        number: usize,
        store: Store,
    ) -> Result<Site> {
        let place = server.make_place(options, &contender, number).await?;
        if contender.program == Program::Django {
            let mut migrate = process::command(None, &options.python);
            migrate.arg(&options.django_site).env("BENCH_DATABASE", &place);
            process::run(migrate)?;
        }
        let process = launch(options, &contender, &place, store)?;
        let mut site = Site { contender, process, place, browsers: Vec::new() };
        site.seed(options, store).await?;
        if !site.is_floor_in_memory(store) {
            servers::fill(&site.place, &contender).await?;
        }
        Ok(site)
    }

    /// A new process in the place of the old one, with the same sessions, or in memory with new ones.
    pub(crate) async fn restart(&mut self, options: &Options, store: Store) -> Result<()> {
        self.process.stop();
        self.process = launch(options, &self.contender, &self.place, store)?;
        if store == Store::Memory { self.seed(options, store).await } else { Ok(()) }
    }

    fn is_floor_in_memory(&self, store: Store) -> bool {
        self.contender.name == "floor" && store == Store::Memory
    }

    async fn seed(&mut self, options: &Options, store: Store) -> Result<()> {
        self.browsers = if self.is_floor_in_memory(store) {
            let cookies = "sessionid=0123456789abcdefghijklmnopqrstuv".to_owned();
            vec![Browser { cookies, count: 0 }; SESSIONS]
        } else {
            load::seed(self.process.port, options.connections, SESSIONS, Duration::from_secs(60)).await?
        };
        Ok(())
    }

    pub(crate) async fn measure(
        &mut self,
        options: &Options,
        server: &Server,
        scenario: Scenario,
        connections: usize,
        round: u32,
    ) -> Result<Run> {
        servers::tidy(&self.place).await?;
        let port = self.process.port;
        // Warm, and for a login with sessions that are not logged in yet, made in the same time.
        let browsers = if scenario == Scenario::Login {
            let fresh = load::seed(port, connections, usize::MAX / 2, options.duration()).await?;
            let warm = load::run(port, scenario, fresh, connections, options.duration() / 20).await?;
            warm.browsers
        } else {
            let browsers = std::mem::take(&mut self.browsers);
            load::run(port, scenario, browsers, connections, options.duration() / 6).await?.browsers
        };
        let application = Snapshot::of(self.process.id())?;
        let server_before = server.id().map(Snapshot::of).transpose()?;
        let mut answers = load::run(port, scenario, browsers, connections, options.duration()).await?;
        let application = Snapshot::of(self.process.id())?.since(&application);
        let server = match (server.id(), server_before) {
            (Some(id), Some(before)) => Some(Snapshot::of(id)?.since(&before)),
            _ => None,
        };
        if scenario != Scenario::Login {
            self.browsers = std::mem::take(&mut answers.browsers);
        }
        let on_server = !(self.place.starts_with("memory:") && self.contender.is_in_cookie(Store::Memory));
        load::verify(port, scenario, &answers.samples, on_server).await?;
        let requests = answers.latencies.len();
        let of_ten_thousand = |seconds: f64| seconds * 10_000.0 / requests as f64;
        Ok(Run {
            contender: self.contender.name,
            scenario,
            connections,
            round,
            requests,
            per_second: requests as f64 / answers.seconds,
            p50: percentile(&answers.latencies, 0.5),
            p99: percentile(&answers.latencies, 0.99),
            application: of_ten_thousand(application),
            server: server.map(of_ten_thousand),
        })
    }
}

fn launch(options: &Options, contender: &Contender, place: &str, store: Store) -> Result<Process> {
    let port = free_port()?;
    let program = match contender.program {
        Program::Site => &options.site,
        Program::Peers => &options.peers,
        Program::Django => &options.python,
    };
    let mut command = process::command(None, program);
    if contender.program == Program::Django {
        let folder = options.django_site.parent().ok_or("Django's site is in a folder")?;
        let bind = format!("127.0.0.1:{port}");
        // As many workers as gunicorn's documents recommend for two processors.
        command.args(["-m", "gunicorn", "--workers", "5", "--worker-class", "gthread", "--threads", "4"]);
        command.args(["--keep-alive", "75", "--log-level", "warning", "--bind", &bind]);
        command.arg("--chdir").arg(folder).arg("django_site:application").env("BENCH_DATABASE", place);
    } else {
        command.args([contender.name, &port.to_string(), place]);
    }
    let log = options.folder.join(format!("{}-{}.log", contender.name, store.name()));
    Process::start(command, port, &log)
}

/// In milliseconds, of sorted microseconds.
pub(crate) fn percentile(sorted: &[u32], part: f64) -> f64 {
    let index = (sorted.len() as f64 * part) as usize;
    f64::from(sorted[index.min(sorted.len() - 1)]) / 1_000.0
}
