//! Imports only go down the drawing in `src/lib.rs`, the domain is pure, files stay readable, no test file is forgotten.
#![expect(clippy::disallowed_methods, reason = "it reads the source tree")]

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Each top-level module and what it may import. `ENTRY` modules wire everything together.
const LAYERS: [(&str, &[&str]); 18] = [
    ("pki", &[]),
    ("plan", &["pki"]),
    ("rotation", &["pki", "plan"]),
    ("inspection", &["pki", "plan"]),
    ("diagnosis", &["pki", "plan", "rotation", "inspection"]),
    ("api", &["pki", "plan"]),
    ("config", &["pki", "plan"]),
    ("node", &["pki", "plan", "rotation"]),
    ("cluster", &["pki", "plan", "rotation", "inspection", "api"]),
    ("probe", &["pki", "plan", "rotation"]),
    ("remote", &[]),
    ("ui", &["pki", "plan", "rotation", "inspection", "diagnosis"]),
    ("engine", &["pki", "plan", "rotation", "diagnosis", "api", "config", "node", "cluster", "probe", "error"]),
    ("agent", &["pki", "plan", "rotation", "api", "config", "node", "cluster", "probe", "engine", "error"]),
    ("error", &["cluster", "ui"]),
    ("context", &["cluster", "ui", "error", "config"]),
    (
        "commands",
        &[
            "pki",
            "plan",
            "rotation",
            "inspection",
            "diagnosis",
            "api",
            "config",
            "node",
            "cluster",
            "probe",
            "remote",
            "engine",
            "agent",
            "ui",
            "error",
            "context",
        ],
    ),
    ("cli", &["commands", "context", "error", "ui", "config"]),
];

/// Modules that know no clock, no file, no network and no terminal.
const PURE: [&str; 5] = ["pki", "plan", "rotation", "inspection", "diagnosis"];

/// What a pure module may not mention. Entropy is the one allowed impurity.
const IMPURE: [&str; 13] = [
    "std::fs",
    "std::env",
    "std::net::Tcp",
    "ToSocketAddrs",
    "std::process",
    "std::io::std",
    "tokio",
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "println!",
    "kube::",
];

/// Longest file, tests not counted.
const LONGEST: usize = 400;

struct Source {
    module: String,
    path: PathBuf,
    text: String,
}

#[test]
fn imports_only_go_down() -> io::Result<()> {
    let wrong: Vec<String> =
        sources()?.iter().flat_map(|file| wrong_imports(&file.module, &file.text, &file.path)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn the_domain_is_pure() -> io::Result<()> {
    let domain = |file: &&Source| PURE.contains(&file.module.as_str());
    let wrong: Vec<String> =
        sources()?.iter().filter(domain).flat_map(|file| impurities(&file.text, &file.path)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn files_stay_readable() -> io::Result<()> {
    let long: Vec<String> = sources()?
        .iter()
        .map(|file| (code(&file.text).len(), &file.path))
        .filter(|(lines, _)| *lines > LONGEST)
        .map(|(lines, path)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "longer than {LONGEST} lines:\n{}", long.join("\n"));
    Ok(())
}

#[test]
fn no_command_line_test_is_forgotten() -> io::Result<()> {
    let main = fs::read_to_string(root().join("tests/cli/main.rs"))?;
    for path in rust_files(&root().join("tests/cli"))? {
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        assert!(name == "main" || main.contains(&format!("mod {name};")), "tests/cli/{name}.rs is in no test binary");
    }
    Ok(())
}

#[test]
fn the_scanner_finds_what_it_must() {
    let here = Path::new("bad.rs");
    let found = |module, text| wrong_imports(module, text, here).len();
    assert_eq!(found("pki", "use crate::plan::Op;\n"), 1);
    assert_eq!(found("plan", "use crate::pki::CaId;\nfn f() { crate::node::read(); }\n"), 1);
    assert_eq!(found("ui", "use crate::{\n    plan::{Event, node},\n    node::Layout,\n    cluster,\n};\n"), 2);
    assert_eq!(found("node", "use super::super::cluster::Cluster;\n"), 1);
    assert_eq!(found("node", "// crate::cluster is above\n"), 0);
    assert_eq!(found("unheard_of", "fn f() {}\n"), 1);
    assert_eq!(impurities("fn f() { std::fs::read(path); }\nlet t = Timestamp::now();\n", here).len(), 2);
    assert_eq!(impurities("// tokio is not used here\n#[cfg(test)]\nmod tests { use std::fs; }\n", here).len(), 0);
}

fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo"))
}

/// Every file of the library with its top-level module; test folders and test files are left out.
fn sources() -> io::Result<Vec<Source>> {
    let src = root().join("src");
    let mut sources = Vec::new();
    for path in rust_files(&src)? {
        let inside: Vec<String> = path
            .strip_prefix(&src)
            .map(|rest| rest.iter().map(|part| part.to_string_lossy().trim_end_matches(".rs").to_owned()).collect())
            .unwrap_or_default();
        let Some(module) = inside.first().cloned() else { continue };
        let is_test = inside.iter().any(|part| matches!(part.as_str(), "tests" | "fixture"));
        if !is_test && !matches!(module.as_str(), "lib" | "main") {
            sources.push(Source { module, text: fs::read_to_string(&path)?, path });
        }
    }
    Ok(sources)
}

fn rust_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The lines before the tests, without comments.
fn code(text: &str) -> Vec<&str> {
    let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]" || !is_last_part(text, line));
    lines.map(|line| line.split("//").next().unwrap_or_default()).collect()
}

/// True when a `#[cfg(test)]` introduces the module of tests at the end of the file, not a declaration in its middle.
fn is_last_part(text: &str, marker: &str) -> bool {
    text.rsplit_once(marker).is_some_and(|(_, rest)| rest.trim_start().starts_with("mod "))
}

fn wrong_imports(module: &str, text: &str, path: &Path) -> Vec<String> {
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
        return vec![format!("{}: module {module} has no place in LAYERS", path.display())];
    };
    let code = code(text).join("\n");
    let mut wrong: Vec<String> = imported(&code)
        .into_iter()
        .filter(|name| name != module && !allowed.contains(&name.as_str()) && is_module(name))
        .map(|name| format!("{}: {module} may not import {name}", path.display()))
        .collect();
    if code.contains("super::super::") {
        wrong.push(format!(
            "{}: write crate:: instead of super::super::, so that the layer can be seen",
            path.display()
        ));
    }
    wrong
}

fn is_module(name: &str) -> bool {
    LAYERS.iter().any(|(module, _)| *module == name)
}

/// The first segment of every `crate::` path, those in braces included.
fn imported(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_heads(group)),
            None => {
                names.insert(first_word(rest));
            }
        }
    }
    names
}

/// The first segments of the paths in a brace group, nested groups skipped.
fn group_heads(group: &str) -> Vec<String> {
    let mut depth = 0_u32;
    let mut heads = vec![String::new()];
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(String::new()),
            other if depth == 0 => heads.iter_mut().last().into_iter().for_each(|head| head.push(other)),
            _ => {}
        }
    }
    heads.iter().map(|head| first_word(head.trim())).collect()
}

fn first_word(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn impurities(text: &str, path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in code(text).iter().enumerate() {
        for word in IMPURE.iter().filter(|word| line.contains(*word)) {
            found.push(format!("{}:{}: {word} in a pure module", path.display(), number + 1));
        }
    }
    found
}
