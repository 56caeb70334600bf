//! Prints a count for people.

use std::fmt::Write as _;

use super::count::{COMPONENTS, KUBELET, Kind, PODS, Report, Row};

/// A row for each component and a column for each node, so that the zeros can be taken in at a glance.
pub fn render(report: &Report) -> String {
    let mut nodes: Vec<&str> = report.rows.iter().map(|row| row.node.as_str()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let mut text = format!("{:25}", "STARTED AGAIN");
    let _ = writeln!(text, "{}", nodes.iter().map(|node| format!("{node:<22}")).collect::<String>().trim_end());
    for component in COMPONENTS.into_iter().chain([KUBELET, PODS]) {
        let cells = nodes.iter().map(|node| format!("{:<22}", cell(&report.rows, component, node)));
        let _ = writeln!(text, "{component:25}{}", cells.collect::<String>().trim_end());
    }
    for boot in &report.boots {
        let _ = writeln!(text, "{:.3} {} was turned on", boot.time, boot.node);
    }
    // Which pod it was cannot be told from the table.
    for start in report.starts.iter().filter(|start| start.component == PODS && start.kind != Kind::AtBoot) {
        let kind = if start.kind == Kind::New { "is new" } else { "was restarted" };
        let _ = writeln!(text, "{:.3} {} {} {kind}", start.time, start.node, start.name);
    }
    let _ = writeln!(text, "{}", total_line(&report.rows));
    text
}

fn cell(rows: &[Row], component: &str, node: &str) -> String {
    let Some(row) = rows.iter().find(|row| row.component == component && row.node == node) else {
        return "-".to_owned();
    };
    let mut apart = Vec::new();
    if row.at_boot > 0 {
        apart.push(format!("{} at boot", row.at_boot));
    }
    if row.new > 0 {
        apart.push(format!("{} new", row.new));
    }
    if apart.is_empty() { row.restarts.to_string() } else { format!("{} ({})", row.restarts, apart.join(", ")) }
}

/// The one line that everybody quotes.
fn total_line(rows: &[Row]) -> String {
    let parts = COMPONENTS.into_iter().chain([KUBELET, PODS]).map(|component| {
        let restarts = || rows.iter().filter(|row| row.component == component).map(|row| row.restarts);
        let (sum, most) = (restarts().sum::<u64>(), restarts().max().unwrap_or(0));
        if sum == 0 { format!("{component} 0") } else { format!("{component} {sum} (at most {most} on a node)") }
    });
    format!("Restarts: {}", parts.collect::<Vec<_>>().join(", "))
}
