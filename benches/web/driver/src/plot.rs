//! The chart: application CPU for a request, as a ratio to the floor, on a logarithmic axis.

use std::fmt::Write;

use crate::contenders::Store;
use crate::load::Scenario;
use crate::runs::Runs;
use crate::runs::{application, label, peers};

const SCENARIOS: [(Scenario, &str); 3] =
    [(Scenario::Read, "read a key"), (Scenario::Count, "counter"), (Scenario::New, "new session")];
const BAR: f64 = 13.0;
const LEFT: f64 = 235.0;
const WIDTH: f64 = 760.0;
const TOP: f64 = 78.0;

/// Readable on light and on dark pages.
const STYLE: &str = "text { font: 13px system-ui, sans-serif; fill: #24292f } .title { font-weight: 600; font-size: 15px } \
     .small { font-size: 11px; fill: #57606a } .page { fill: #ffffff } .grid { stroke: #d0d7de } .floor { stroke: #24292f } \
     .bar0 { fill: #0969da } .bar1 { fill: #bf8700 } .bar2 { fill: #1a7f37 } \
     @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .small { fill: #9198a1 } .page { fill: #0d1117 } \
     .grid { stroke: #30363d } .floor { stroke: #e6edf3 } .bar0 { fill: #4493f8 } .bar1 { fill: #d29922 } \
     .bar2 { fill: #3fb950 } }";

pub(crate) fn svg(store: Store, runs: &Runs, connections: usize) -> String {
    let ratio = |contender, scenario| runs.ratio([contender, "floor"], scenario, connections, application);
    let names: Vec<&str> = ["cloakroom", "cloakroom-actix"]
        .into_iter()
        .chain(peers(store))
        .filter(|name| SCENARIOS.iter().any(|(scenario, _)| ratio(name, *scenario).is_some()))
        .collect();
    let all = names.iter().flat_map(|name| SCENARIOS.map(|(scenario, _)| ratio(name, scenario)));
    let largest = all.flatten().fold(2.0, f64::max);
    let (low, high) = (0.25_f64.log2(), (largest * 1.3).log2());
    let x = |ratio: f64| LEFT + (ratio.max(0.25).log2() - low) / (high - low) * (WIDTH - LEFT - 50.0);
    let group = BAR * 3.0 + 16.0;
    let bottom = TOP + group * names.len() as f64;
    let height = bottom + 40.0;
    let title = match store {
        Store::Redis => "Redis",
        Store::Valkey => "Valkey",
        _ => "PostgreSQL",
    };

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>{title}: application CPU for a request, by contender, as a ratio to the floor</title>\n\
         <style>{STYLE}</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n\
         <text class=\"title\" x=\"16\" y=\"26\">{title}: application CPU for a request</text>\n\
         <text class=\"small\" x=\"16\" y=\"44\">by that of the floor ({}); less is better; logarithmic</text>\n",
        store.floor()
    );
    for (number, (_, name)) in SCENARIOS.iter().enumerate() {
        let left = LEFT + 110.0 * number as f64;
        let _ = writeln!(
            svg,
            "<rect class=\"bar{number}\" x=\"{left}\" y=\"54\" width=\"11\" height=\"11\"/>\
             <text class=\"small\" x=\"{}\" y=\"64\">{name}</text>",
            left + 16.0
        );
    }
    let ticks = (-2..=8).map(|power| 2.0_f64.powi(power)).filter(|tick| *tick <= largest * 1.3);
    for tick in ticks {
        let class = if tick == 1.0 { "floor" } else { "grid" };
        let name = if tick == 1.0 { "floor".to_owned() } else { format!("× {tick}") };
        let _ = writeln!(
            svg,
            "<line class=\"{class}\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
             <text class=\"small\" text-anchor=\"middle\" x=\"{0:.1}\" y=\"{1}\">{name}</text>",
            x(tick),
            bottom + 18.0
        );
    }
    for (row, name) in names.iter().enumerate() {
        let top = TOP + group * row as f64 + 8.0;
        let weight = if name.starts_with("cloakroom") { " style=\"font-weight: 600\"" } else { "" };
        let _ = writeln!(
            svg,
            "<text text-anchor=\"end\" x=\"{}\" y=\"{}\"{weight}>{}</text>",
            LEFT - 12.0,
            top + BAR * 1.5 + 5.0,
            label(name, store)
        );
        for (number, (scenario, _)) in SCENARIOS.iter().enumerate() {
            let Some(ratio) = ratio(name, *scenario) else { continue };
            let (from, to) = (x(ratio).min(x(1.0)), x(ratio).max(x(1.0)));
            let y = top + BAR * number as f64;
            let digits = if ratio < 10.0 { 2 } else { 0 };
            // The number stands where the bar ends, on the side away from the floor.
            let (anchor, at) = if ratio < 1.0 { ("end", from - 4.0) } else { ("start", to + 4.0) };
            let _ = writeln!(
                svg,
                "<rect class=\"bar{number}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{}\"/>\
                 <text class=\"small\" text-anchor=\"{anchor}\" x=\"{at:.1}\" y=\"{:.1}\">{ratio:.digits$}</text>",
                (to - from).max(1.0),
                BAR - 2.0,
                y + BAR - 3.0
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
