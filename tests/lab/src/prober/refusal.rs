//! When the starting client was refused, and which of its 401s were due. Pure.
//!
//! A server that has dropped the old CA answers 401 from then on. A 401 that the same server follows with a success was
//! not that: it is a failed request. Behind the balancer the servers take turns, so there a 401 is due from the first
//! server's drop on.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::outcome::{Group, Key, STARTING_CLIENT};
use super::report::{Total, maybe_milliseconds, milliseconds};

pub const BALANCER: &str = "balancer";

/// Requests that overlap may be answered in another order than they were started, and totals are as fine as a second.
const GRACE: SignedDuration = SignedDuration::from_secs(1);

/// How one target refused the starting client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    pub target: String,
    /// Of the 401s that were due.
    #[serde(serialize_with = "maybe_milliseconds")]
    pub first: Option<Timestamp>,
    #[serde(serialize_with = "milliseconds")]
    pub last: Timestamp,
    #[serde(serialize_with = "maybe_milliseconds")]
    pub last_ok: Option<Timestamp>,
    pub due: u64,
    /// Counted as failed.
    pub premature: u64,
    /// Whether the client got a success after its first 401.
    pub accepted_again: bool,
}

/// What the refusals of a whole run come to.
pub struct Refusals {
    pub targets: Vec<Refusal>,
    /// Premature ones, by lane.
    pub premature: BTreeMap<Key, u64>,
}

pub fn analyse(totals: &[&Total]) -> Refusals {
    let ours: Vec<&Total> = totals
        .iter()
        .copied()
        .filter(|total| total.key.client == STARTING_CLIENT && total.key.group == Group::Api)
        .collect();
    let (balancer, servers): (Vec<&Total>, Vec<&Total>) =
        ours.into_iter().partition(|total| total.key.target == BALANCER);
    let mut refusals = Refusals { targets: Vec::new(), premature: BTreeMap::new() };
    for (target, totals) in by_target(&servers) {
        let last_ok = totals.iter().filter_map(|total| total.last_ok).max();
        refusals.add(target, &totals, last_ok, last_ok);
    }
    let drops = || refusals.targets.iter().filter_map(|refusal| refusal.first);
    let (first_drop, last_drop) = (drops().min(), drops().max());
    // With no server that has dropped the CA, no refusal of the balancer is due.
    refusals.add(BALANCER, &balancer, first_drop.or(Some(Timestamp::MAX)), last_drop);
    refusals
}

impl Refusals {
    /// `due_from`: 401s are due from here on. `settled`: a success later than this is one too many.
    fn add(&mut self, target: &str, totals: &[&Total], due_from: Option<Timestamp>, settled: Option<Timestamp>) {
        let (Some(first_of_all), Some(last)) = (
            totals.iter().filter_map(|total| total.first_refused).min(),
            totals.iter().filter_map(|total| total.last_refused).max(),
        ) else {
            return;
        };
        let last_ok = totals.iter().filter_map(|total| total.last_ok).max();
        let mut refusal = Refusal {
            target: target.to_owned(),
            first: None,
            last,
            last_ok,
            due: 0,
            premature: 0,
            accepted_again: false,
        };
        for total in totals.iter().filter(|total| total.refused > 0) {
            if due_from.is_some_and(|from| total.last_refused.is_some_and(|refused| before(refused, from))) {
                refusal.premature += total.refused;
                *self.premature.entry(total.key.clone()).or_default() += total.refused;
            } else {
                refusal.due += total.refused;
                refusal.first = [refusal.first, total.first_refused].into_iter().flatten().min();
            }
        }
        let limit = if target == BALANCER { settled.unwrap_or(first_of_all) } else { first_of_all };
        refusal.accepted_again = last_ok.is_some_and(|ok| before(limit, ok));
        self.targets.push(refusal);
    }
}

/// Earlier by more than chance.
fn before(earlier: Timestamp, later: Timestamp) -> bool {
    later.duration_since(earlier) > GRACE
}

fn by_target<'a>(totals: &[&'a Total]) -> BTreeMap<&'a str, Vec<&'a Total>> {
    let mut targets: BTreeMap<&str, Vec<&Total>> = BTreeMap::new();
    for total in totals {
        targets.entry(&total.key.target).or_default().push(total);
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Mode;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn total(target: &str, second: i64, ok: bool, refused: u64) -> Total {
        let key =
            Key { group: Group::Api, client: STARTING_CLIENT.to_owned(), target: target.to_owned(), mode: Mode::Fresh };
        let mut total = Total::empty(at(second), key);
        total.requests = refused + u64::from(ok);
        total.refused = refused;
        total.last_ok = ok.then(|| at(second));
        total.first_refused = (refused > 0).then(|| at(second));
        total.last_refused = total.first_refused;
        total
    }

    fn analysed(totals: &[Total]) -> Refusals {
        analyse(&totals.iter().collect::<Vec<_>>())
    }

    fn of<'a>(refusals: &'a Refusals, target: &str) -> &'a Refusal {
        refusals.targets.iter().find(|refusal| refusal.target == target).unwrap()
    }

    #[test]
    fn refusals_after_the_last_success_are_due() {
        let refusals = analysed(&[total("cp-1", 10, true, 0), total("cp-1", 11, true, 3), total("cp-1", 12, false, 5)]);
        let refusal = of(&refusals, "cp-1");
        assert_eq!((refusal.due, refusal.premature, refusal.accepted_again), (8, 0, false));
        assert_eq!((refusal.first, refusal.last, refusal.last_ok), (Some(at(11)), at(12), Some(at(11))));
    }

    #[test]
    fn a_refusal_that_a_success_follows_is_a_failure() {
        let refusals = analysed(&[total("cp-1", 5, false, 2), total("cp-1", 10, true, 0), total("cp-1", 20, false, 4)]);
        let refusal = of(&refusals, "cp-1");
        assert_eq!((refusal.due, refusal.premature, refusal.accepted_again), (4, 2, true));
        assert_eq!(refusals.premature.values().sum::<u64>(), 2);
        assert_eq!(refusal.first, Some(at(20)));
    }

    #[test]
    fn the_balancer_may_refuse_and_accept_while_the_servers_drop() {
        let refusals = analysed(&[
            total("cp-1", 10, true, 0),
            total("cp-1", 11, false, 2),
            total("cp-2", 15, true, 0),
            total("cp-2", 16, false, 2),
            total(BALANCER, 12, true, 3),
            total(BALANCER, 15, true, 1),
            total(BALANCER, 18, false, 9),
        ]);
        let balancer = of(&refusals, BALANCER);
        assert_eq!((balancer.due, balancer.premature, balancer.accepted_again), (13, 0, false));
    }

    #[test]
    fn the_balancer_may_not_refuse_before_any_server_does() {
        let refusals =
            analysed(&[total("cp-1", 10, true, 0), total("cp-1", 20, false, 2), total(BALANCER, 5, true, 3)]);
        assert_eq!(of(&refusals, BALANCER).premature, 3);
        let alone = analysed(&[total("cp-1", 10, true, 0), total(BALANCER, 5, true, 3)]);
        assert_eq!(of(&alone, BALANCER).premature, 3);
    }

    #[test]
    fn a_balancer_that_still_accepts_when_all_have_dropped_is_named() {
        let refusals =
            analysed(&[total("cp-1", 10, false, 2), total("cp-2", 10, false, 2), total(BALANCER, 30, true, 1)]);
        assert!(of(&refusals, BALANCER).accepted_again);
    }
}
