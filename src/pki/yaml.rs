//! YAML that others have written: kubeconfigs, manifests, configurations.

use serde_json::Value;

/// Values that aliases may put into one document besides those that stand in it.
const MOST_BY_ALIAS: usize = 10_000;
/// Copies that the parser may keep of what stands behind anchors.
const MOST_KEPT: usize = 50_000;
/// Values in one document; a kubeconfig of a thousand clusters has thirty thousand.
const MOST_VALUES: usize = 100_000;

/// Reads one document. Aliases and anchors make much of little: with the parser's own limits a thousand bytes take 70 MiB.
///
/// # Errors
/// It is no YAML, or it stands for more values than any file of a cluster has.
pub fn read_yaml(text: &str) -> Result<Value, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: MOST_VALUES, max_recorded_anchor_events: MOST_KEPT },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MOST_BY_ALIAS },
    };
    serde_saphyr::from_str_with_options(text, options)
}

/// True when a text is no worse than long: [`read_yaml`] has refused it for the number of its values.
pub(super) fn too_many_values(error: &serde_saphyr::Error) -> bool {
    use serde_saphyr::Error::{AliasReplayLimitExceeded, Budget};
    matches!(error.without_snippet(), Budget { .. } | AliasReplayLimitExceeded { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_very_much_is_refused_and_a_thousand_clusters_are_not() {
        let laughs: String = (1..11).map(|n| format!("a{n}: &a{n} [*a{0},*a{0},*a{0}]\n", n - 1)).collect();
        assert!(read_yaml(&format!("a0: &a0 [x]\n{laughs}")).is_err());
        let anchors: String = (0..60).map(|n| format!("&a{n} [")).collect();
        assert!(read_yaml(&format!("{anchors}{}{}", "x,".repeat(2000), "]".repeat(60))).is_err());
        let long = read_yaml(&format!("[{}]", "{a: 1},".repeat(50_000))).unwrap_err();
        assert!(too_many_values(&long) && !too_many_values(&read_yaml("[").unwrap_err()));

        let clusters: String = (0..1000)
            .map(|n| {
                format!("- name: c{n}\n  cluster: {{server: s, certificate-authority-data: &d{n} x, other: *d{n}}}\n")
            })
            .collect();
        let read = read_yaml(&format!("clusters:\n{clusters}")).unwrap();
        assert_eq!(read["clusters"][999]["cluster"]["other"], "x");
    }
}
