use super::*;
use crate::api::{ClusterPkiStatus, CrossRecord};

fn now() -> jiff::Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn authority(material: &Material, signer: Option<&Material>) -> AuthorityRecord {
    let pem = |certificate: &Option<Certificate>| certificate.as_ref().map(Certificate::to_pem);
    let crosses = signer.zip(material.crosses.first());
    AuthorityRecord {
        id: material.ca.ca_id(),
        certificate: material.ca.to_pem(),
        crosses: crosses
            .map(|(signer, (_, cross))| CrossRecord { by: signer.ca.ca_id(), certificate: cross.to_pem() })
            .into_iter()
            .collect(),
        specimen_server: pem(&material.specimen_server),
        specimen_client: pem(&material.specimen_client),
    }
}

/// The CA in force, and a new one made in its place.
fn made() -> (AuthorityRecord, Made) {
    let (old, new) = Material::planned_pair("kubernetes", None, now()).unwrap();
    let made =
        Made { request: "ca-2".into(), authority: authority(&new, Some(&old)), old: authority(&old, Some(&new)) };
    (authority(&old, None), made)
}

fn object(completed: u32, authorities: &[(u32, &AuthorityRecord)], spec: ClusterPkiSpec) -> ClusterPKI {
    let authorities = authorities.iter().map(|(version, record)| (version.to_string(), (*record).clone())).collect();
    let status = ClusterPkiStatus { ca_version: Some(completed), authorities, ..ClusterPkiStatus::default() };
    ClusterPKI { status: Some(status), ..ClusterPKI::new("cluster", spec) }
}

fn spec(ca_version: u32, rotation: Option<RotationIntent>) -> ClusterPkiSpec {
    ClusterPkiSpec { ca_version, rotation, waivers: Vec::new(), forget: Vec::new() }
}

fn intent(from: &CaId, to: Option<&CaId>, rollback: bool) -> RotationIntent {
    RotationIntent {
        from: from.clone(),
        to: to.cloned(),
        rollback,
        started_by: "me@here:1".into(),
        started_at: now().to_string(),
        trusted_at: None,
    }
}

#[test]
fn a_number_in_the_spec_alone_is_no_rotation() {
    let (old, made) = made();
    let over = intent(&old.id, Some(&made.authority.id), false);
    let record = Record::read(&object(2, &[(1, &old), (2, &made.authority)], spec(3, Some(over))));
    assert!(!record.rotating(), "the rotation to CAVersion 2 is over, whatever the spec asks for");
    assert_eq!(record.current(), Some(&made.authority.id));
}

#[test]
fn a_rotation_under_way_leads_where_it_led_when_the_spec_is_edited() {
    let (old, made) = made();
    let under_way = intent(&old.id, Some(&made.authority.id), false);
    for edited in [1, 2, 3] {
        let record =
            Record::read(&object(1, &[(1, &old), (2, &made.authority)], spec(edited, Some(under_way.clone()))));
        assert!(record.rotating());
        assert_eq!(record.wanted, 2, "spec.caVersion {edited}");
    }
    let early = Record::read(&object(1, &[(1, &old)], spec(1, Some(intent(&old.id, None, false)))));
    assert_eq!((early.rotating(), early.wanted), (true, 2));
    let back = intent(&made.authority.id, Some(&old.id), true);
    let rollback = Record::read(&object(1, &[(1, &old), (2, &made.authority)], spec(2, Some(back))));
    assert_eq!((rollback.rotating(), rollback.wanted), (true, 1));
}

#[test]
fn fresh_specimens_replace_those_of_the_last_rotation() {
    let (old, made) = made();
    let mut record = Record::default();
    record.add(1, &AuthorityRecord { specimen_server: Some("expired".into()), ..old });
    record.add(1, &made.old);
    assert_eq!(record.authorities[&1].specimen_server, made.old.specimen_server);
    record.add(1, &AuthorityRecord { specimen_server: None, ..made.old.clone() });
    assert_eq!(record.authorities[&1].specimen_server, made.old.specimen_server, "none is no reason to lose one");
}

#[test]
fn an_older_ca_counts_while_it_vouches() {
    let (old, made) = made();
    let mut record = Record { completed: 1, wanted: 2, ..Record::default() };
    record.add(1, &old);
    record.add(2, &made.authority);
    let (one, two, three) = (old.id.clone(), made.authority.id.clone(), CaId::planned("three"));
    assert_eq!(record.legacy(&two, None), std::slice::from_ref(&one), "before CA 3 is made it is expected to");
    let crosses = |by: &[&CaId]| {
        by.iter().map(|by| CrossRecord { by: (*by).clone(), certificate: String::new() }).collect::<Vec<_>>()
    };
    record.add(3, &AuthorityRecord { id: three.clone(), crosses: crosses(&[&one, &two]), ..old.clone() });
    assert_eq!(record.legacy(&two, Some(&three)), std::slice::from_ref(&one));
    // A driver that dies after the certificates were recorded and before the intent was: CA 2 does not vouch for itself.
    assert_eq!(record.legacy(&one, Some(&two)), Vec::new());
}

#[test]
fn a_ca_of_somebody_else_is_not_taken() {
    let (old, good) = made();
    let mut record = Record { completed: 1, wanted: 2, ..Record::default() };
    record.add(1, &old);
    assert_eq!(record.vet(&good, &old.id), Ok(()));
    // A driver died after the certificates were recorded and before the intent named them: the same answer is taken again.
    record.add(2, &good.authority);
    assert_eq!(record.vet(&good, &old.id), Ok(()));
    record.completed = 2;
    assert!(record.vet(&good, &old.id).is_err(), "a CA that has been in force is not new");
    let mut record = Record { completed: 1, wanted: 2, ..Record::default() };
    record.add(1, &old);
    let (_, strange) = made();
    let refused = |made: Made, word: &str| {
        let problem = record.vet(&made, &old.id).unwrap_err();
        assert!(problem.contains(word), "{problem}");
    };
    refused(strange.clone(), "not made in place of");
    // The attacker knows the public certificates, so only the signature tells.
    refused(Made { old: good.old.clone(), ..strange.clone() }, "has not signed it");
    let mut forged = Made { old: good.old.clone(), ..strange.clone() };
    forged.authority.crosses[0].by = old.id.clone();
    refused(forged, "is not over it");
    let mut borrowed = Made { old: good.old.clone(), ..strange.clone() };
    borrowed.authority.crosses.clone_from(&good.authority.crosses);
    refused(borrowed, "is not over it");
    let mut renamed = good.clone();
    renamed.authority.id = strange.authority.id;
    refused(renamed, "not what its certificate says");
    let mut leaf = good.clone();
    leaf.authority.certificate = good.authority.specimen_server.clone().unwrap();
    refused(leaf, "not what its certificate says");
}

#[test]
fn a_ca_that_is_over_is_forgotten_also_by_a_driver_that_finds_it_in_the_status() {
    let (old, made) = made();
    let mut record = Record { completed: 2, wanted: 2, ..Record::default() };
    record.add(1, &made.old);
    record.add(2, &made.authority);
    record.retire(std::slice::from_ref(&old.id));
    record.retire(std::slice::from_ref(&old.id));
    assert_eq!(record.forget, std::slice::from_ref(&old.id));
    assert!(record.authorities[&2].crosses.is_empty() && !record.versions.contains_key(&old.id));
    // The spec was written, the status was not.
    let spec = ClusterPkiSpec { forget: record.forget.clone(), ..spec(2, None) };
    let read = Record::read(&object(2, &[(1, &made.old), (2, &made.authority)], spec));
    assert_eq!(read.versions.keys().collect::<Vec<_>>(), [&made.authority.id]);
}
