//! Packs container images out of binaries, as docker-archives of one layer each: no Docker, no registry.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::container;
use crate::distribution::Distribution;
use crate::node::Node;
use crate::process::{command, output, output_with_input};

/// The repository prefix that kubeadm is told to use; it names no registry, so nothing can be pulled by mistake.
pub const REPOSITORY: &str = "lab";

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const AGENT: &str = "/usr/bin/certctl";
const BUSYBOX: &str = "/bin/busybox";
const BUSYBOX_LINKS: [&str; 9] = ["sh", "cat", "date", "echo", "env", "ls", "nc", "sleep", "wget"];

struct Image {
    tags: Vec<String>,
    /// From where, to where in the image.
    files: Vec<(PathBuf, String)>,
    links: Vec<(String, String)>,
    entrypoint: Vec<String>,
    command: Vec<String>,
    environment: Vec<String>,
}

impl Image {
    fn of_binary(tag: String, binary: &Path) -> Image {
        let name = binary.file_name().unwrap_or_default().to_string_lossy();
        let place = format!("usr/local/bin/{name}");
        Image {
            tags: vec![tag],
            entrypoint: vec![format!("/{place}")],
            files: vec![(binary.to_owned(), place)],
            links: Vec::new(),
            command: Vec::new(),
            environment: Vec::new(),
        }
    }

    fn with_file(mut self, from: &Path) -> Image {
        let place = from.to_string_lossy().trim_start_matches('/').to_owned();
        self.files.push((from.to_owned(), place));
        self
    }
}

/// Writes one archive with every image that a cluster of this distribution needs.
pub fn pack(distribution: &Distribution, archive: &Path) -> Result<()> {
    write_archive(&images(distribution)?, archive)
}

fn write_archive(images: &[Image], archive: &Path) -> Result<()> {
    let mut tar = tar::Builder::new(File::create(archive)?);
    let mut manifest = Vec::new();
    for (number, image) in images.iter().enumerate() {
        manifest.push(append(&mut tar, number, image, &archive.with_extension("layer"))?);
    }
    append_bytes(&mut tar, "manifest.json", &serde_json::to_vec(&manifest)?)?;
    tar.into_inner()?.flush()?;
    Ok(())
}

/// Writes the image of certctl's agent, under this name, to an archive.
pub fn pack_agent(program: &Path, tag: &str, archive: &Path) -> Result<()> {
    pack_agent_with(program, tag, archive, None, &[])
}

/// The same with one more library of this machine, and with environment variables for the agent.
pub fn pack_agent_with(
    program: &Path,
    tag: &str,
    archive: &Path,
    library: Option<&Path>,
    environment: &[String],
) -> Result<()> {
    let folder = archive.parent().context("the archive needs a folder")?;
    fs::create_dir_all(folder)?;
    // Beside its place, so that nobody imports half an image.
    let (part, stripped) = (archive.with_extension("part"), archive.with_extension("stripped"));
    output(command("strip", ["--strip-all", "-o"]).arg(&stripped).arg(program))?;
    let mut image = Image {
        tags: vec![tag.to_owned()],
        files: vec![(stripped.clone(), AGENT.trim_start_matches('/').to_owned())],
        links: Vec::new(),
        entrypoint: vec![AGENT.to_owned()],
        command: vec!["agent".to_owned()],
        environment: environment.to_vec(),
    };
    for library in libraries(program)?.iter().map(PathBuf::as_path).chain(library) {
        image = image.with_file(library);
    }
    write_archive(&[image], &part)?;
    fs::remove_file(&stripped)?;
    fs::rename(&part, archive)?;
    Ok(())
}

/// The dynamic loader and the libraries of a program, at the paths at which the loader looks for them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let list = output(&mut command("ldd", [program]))?;
    Ok(list.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

/// The name of the sandbox image of every pod, which containerd must be told.
pub fn pause(bin: &Path, kubernetes: &str) -> Result<String> {
    listed(bin, kubernetes)?
        .into_iter()
        .find(|name| name.starts_with("lab/pause:"))
        .context("kubeadm lists no pause image")
}

fn images(distribution: &Distribution) -> Result<Vec<Image>> {
    let bin = distribution.bin();
    let mut images = Vec::new();
    for name in listed(&bin, &distribution.kubernetes)? {
        let component = name.trim_start_matches("lab/").split(':').next().unwrap_or_default().to_owned();
        match component.as_str() {
            "pause" => images.push(busybox(name)),
            // The lab has no name service.
            "coredns" => {}
            "etcd" => images.push(Image::of_binary(name, &bin.join("etcd")).with_file(&bin.join("etcdctl"))),
            "kube-proxy" => images.push(kube_proxy(name, &bin)?),
            _ => images.push(Image::of_binary(name, &bin.join(component))),
        }
    }
    let kubectl = format!("{REPOSITORY}/kubectl:v{}", distribution.kubernetes);
    images.push(Image::of_binary(kubectl, &bin.join("kubectl")));
    Ok(images)
}

/// What kubeadm itself says it needs, so that no version of etcd's or pause's image is written down here.
fn listed(bin: &Path, kubernetes: &str) -> Result<Vec<String>> {
    let version = format!("v{kubernetes}");
    let arguments = ["config", "images", "list", "--image-repository", REPOSITORY, "--kubernetes-version", &version];
    let list = output(&mut command(&bin.join("kubeadm").to_string_lossy(), arguments))?;
    Ok(list.lines().map(str::to_owned).collect())
}

/// One image serves as the sandbox and as the shell of the test pods.
fn busybox(pause: String) -> Image {
    let link = |name: &str| (format!("bin/{name}"), BUSYBOX.to_owned());
    Image {
        tags: vec![pause, format!("{REPOSITORY}/busybox:1")],
        files: vec![(PathBuf::from(BUSYBOX), BUSYBOX.trim_start_matches('/').to_owned())],
        links: BUSYBOX_LINKS.iter().copied().map(link).collect(),
        entrypoint: vec![BUSYBOX.into(), "sleep".into(), "2147483647".into()],
        command: Vec::new(),
        environment: Vec::new(),
    }
}

/// kube-proxy calls `nft`, which is the one program here that is not static.
fn kube_proxy(tag: String, bin: &Path) -> Result<Image> {
    let nft = Path::new("/usr/sbin/nft");
    let mut image = Image::of_binary(tag, &bin.join("kube-proxy")).with_file(nft);
    for library in libraries(nft)? {
        image = image.with_file(&library);
    }
    Ok(image)
}

fn append(tar: &mut tar::Builder<File>, number: usize, image: &Image, layer: &Path) -> Result<Value> {
    write_layer(image, layer).with_context(|| format!("cannot pack {}", image.tags.join(", ")))?;
    let line = output(&mut command("sha256sum", [layer]))?;
    let digest = line.split_whitespace().next().context("sha256sum prints no digest")?;
    let environment: Vec<&str> = std::iter::once(PATH).chain(image.environment.iter().map(String::as_str)).collect();
    let (layer_name, config_name) = (format!("{number}/layer.tar"), format!("{number}.json"));
    tar.append_path_with_name(layer, &layer_name)?;
    fs::remove_file(layer)?;
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": { "Entrypoint": image.entrypoint, "Cmd": image.command, "Env": environment },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    append_bytes(tar, &config_name, &serde_json::to_vec(&config)?)?;
    Ok(json!({ "Config": config_name, "RepoTags": image.tags, "Layers": [layer_name] }))
}

fn write_layer(image: &Image, layer: &Path) -> Result<()> {
    let mut tar = tar::Builder::new(File::create(layer)?);
    for (from, to) in &image.files {
        let mut file = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
        let mut header = header(0o755);
        header.set_size(file.metadata()?.len());
        tar.append_data(&mut header, to, &mut file)?;
    }
    for (from, to) in &image.links {
        let mut header = header(0o777);
        header.set_entry_type(tar::EntryType::Symlink);
        tar.append_link(&mut header, from, to)?;
    }
    tar.into_inner()?.flush()?;
    Ok(())
}

fn append_bytes(tar: &mut tar::Builder<File>, name: &str, bytes: &[u8]) -> Result<()> {
    let mut header = header(0o644);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, name, bytes)?;
    Ok(())
}

/// Brings the images of an archive to one node.
pub fn import(node: &Node, archive: &[u8]) -> Result<()> {
    let ctr = ["ctr", "--namespace", crate::template::NAMESPACE, "images", "import", "-"];
    output_with_input(&mut container::inside(node, ctr), archive).map(drop)
}

/// Owner root, time zero: the same files make the same image.
fn header(mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(0);
    header
}

/// Rust's name of the machine in Go's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
