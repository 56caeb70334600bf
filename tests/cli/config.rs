//! `certctl config`.

use std::io;

use crate::harness::Sandbox;

const HEAD: &str = "apiVersion: certctl.dev/v1alpha1\nkind: Config\n";

#[test]
fn an_unknown_field_is_named_with_file_line_column_and_the_nearest_name() -> io::Result<()> {
    let sandbox = Sandbox::new()?;
    sandbox.write("certctl.yaml", format!("{HEAD}pauseBefor: CPUntrusted\n"))?;
    let run = sandbox.run(&["config", "validate"])?;
    assert_eq!(run.code, Some(2));
    insta::assert_snapshot!(run.stderr, @"error: certctl.yaml:3:1: unknown field `pauseBefor`; did you mean `pauseBefore`?");
    Ok(())
}

#[test]
fn view_fills_in_the_defaults_and_can_be_read_again() -> io::Result<()> {
    let sandbox = Sandbox::new()?;
    sandbox.write("certctl.yaml", format!("{HEAD}waive: [node/w-2]\n"))?;
    let run = sandbox.run(&["config", "view"])?;
    insta::assert_snapshot!(run.stdout, @r"
    apiVersion: certctl.dev/v1alpha1
    kind: Config
    authorities:
    - cluster
    timeout: 5m
    maxUnavailable: 25%
    waive:
    - node/w-2
    ");
    sandbox.write("again.yaml", &run.stdout)?;
    assert_eq!(sandbox.run(&["config", "validate", "--config", "again.yaml"])?.code, Some(0));
    Ok(())
}

#[test]
fn a_missing_file_is_named() -> io::Result<()> {
    let run = Sandbox::new()?.run(&["config", "validate", "--config", "none.yaml"])?;
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.starts_with("error: cannot read none.yaml\n  caused by: No such file"), "{}", run.stderr);
    Ok(())
}
