//! Into the administrator's kubeconfigs.

use std::fs;

use super::*;
use crate::node::KubeconfigFiles;
use crate::pki::{Login, LoginNames};

fn login() -> Login {
    let names = LoginNames { context: "jane@k".into(), cluster: "k".into(), user: "jane@k".into() };
    Login::new(names, json!({ "server": "https://a:6443" })).with_exec("/bin/certctl", &[], "hint")
}

#[tokio::test]
async fn it_is_written_to_the_list_and_the_lock_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kube/config");
    let files = KubeconfigFiles::listed(vec![path.clone()]);
    let written = write(&files, &login(), false, &[]).await.unwrap();
    assert_eq!((written.files, written.is_current), (vec![path.clone()], true));
    assert!(fs::read_to_string(&path).unwrap().contains("current-context: jane@k"));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    assert!(write(&files, &login(), false, &[]).await.unwrap().files.is_empty(), "it is there");
}

#[tokio::test]
async fn what_somebody_else_wrote_meanwhile_is_not_overwritten_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let files = KubeconfigFiles::listed(vec![path.clone()]);
    let theirs = "users:\n- name: jane@k\n  user: {token: t}\n";
    fs::write(&path, theirs).unwrap();
    let error = write(&files, &login(), false, &[]).await.unwrap_err();
    assert!(error.sentence().contains("user `jane@k` was written by somebody else"), "{error:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), theirs);
    let seen = would_overwrite(&files, &login()).unwrap();
    write(&files, &login(), false, &seen).await.unwrap();
    assert!(!fs::read_to_string(&path).unwrap().contains("token"));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_stays_is_named_and_one_that_goes_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let files = KubeconfigFiles::listed(vec![path.clone()]);
    let lock = folder.path().join("config.lock");
    fs::write(&lock, "").unwrap();
    let error = format!("{:?}", write(&files, &login(), false, &[]).await.unwrap_err());
    assert!(error.contains("config.lock is there") && error.contains("remove it"), "{error}");
    assert!(!path.exists() && lock.exists());
    let login = login();
    let (written, ()) = tokio::join!(write(&files, &login, false, &[]), async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        fs::remove_file(&lock).unwrap();
    });
    assert_eq!(written.unwrap().files, [path]);
}

#[tokio::test]
async fn a_file_that_is_no_kubeconfig_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    fs::write(&path, "users: [").unwrap();
    let files = KubeconfigFiles::listed(vec![path.clone()]);
    let error = would_overwrite(&files, &login()).unwrap_err().sentence();
    assert!(error.contains("/config: kubeconfig: not readable YAML"), "{error}");
    assert!(write(&files, &login(), true, &[]).await.is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "users: [");
}
