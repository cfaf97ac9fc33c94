//! An image for containers from scratch: one layer with the binary and the licences, in the OCI image layout (opencontainers/image-spec
//! v1.1, image-layout.md) in one tar file, with the list that `docker load` reads beside it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::moment::Moment;
use super::payload::{Payload, place};
use super::{VERSION, sums, write};
use crate::processor::Processor;
use crate::{process, workspace};

/// What is said of the image without a registry's name.
pub const NAME: &str = "observer";
/// The kind of a list of images.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// As it is called in `target/dist`.
pub fn file_name() -> String {
    format!("observer-{VERSION}-image.tar")
}

/// Builds it in `work` and leaves it in `dir`: one file with the image of each processor.
pub fn build(payloads: &[Payload], work: &Path, dir: &Path, moment: &Moment) -> Result<()> {
    let layout = work.join("layout");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).with_context(|| format!("cannot make {}", blobs.display()))?;
    let mut manifests = Vec::new();
    let mut for_docker = Vec::new();
    for payload in payloads {
        let one = one(payload, &work.join(payload.processor.name()), &blobs, moment)?;
        // Its list knows no processors: with the first it has a name, as this machine's is.
        if for_docker.is_empty() {
            for_docker.push(one.for_docker);
        }
        manifests.push(one.manifest);
    }
    let index = |manifests: Vec<Value>| {
        serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": manifests,
        }))
    };
    // The image of all processors has the name; whoever reads it takes its own.
    let mut all = blob(&blobs, &index(manifests)?, INDEX)?;
    all["annotations"] = json!({
        "org.opencontainers.image.ref.name": VERSION,
        "io.containerd.image.name": format!("docker.io/library/{NAME}:{VERSION}"),
    });
    write(&layout.join("index.json"), &index(vec![all])?)?;
    write(&layout.join("manifest.json"), &serde_json::to_vec(&for_docker)?)?;
    write(&layout.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    pack(&layout, &dir.join(file_name()), moment)
}

/// The image of one processor.
struct One {
    /// What the index says of its manifest.
    manifest: Value,
    /// What docker's list says of it.
    for_docker: Value,
}

fn one(payload: &Payload, work: &Path, blobs: &Path, moment: &Moment) -> Result<One> {
    let layer = work.join("layer");
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    place(&layer, "observer", 0o755, &read(&payload.binary)?)?;
    place(&layer, "third-party.txt", 0o644, payload.notices.as_bytes())?;
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        place(&layer, name, 0o644, &read(&workspace::root().join(name))?)?;
    }
    let tar = work.join("layer.tar");
    pack(&layer, &tar, moment)?;
    let layer_id = format!("sha256:{}", sums::of(&tar)?);
    // Not packed by gzip: whoever stores or sends it does that, and whoever reads it back need not undo it.
    let layer = blob(blobs, &read(&tar)?, "application/vnd.oci.image.layer.v1.tar")?;
    let created = moment.as_json()?;
    let config = json!({
        "created": created,
        "architecture": payload.processor.debian(),
        "os": "linux",
        "config": {
            "Entrypoint": ["/observer"],
            "Cmd": ["--help"],
            "Labels": {
                "org.opencontainers.image.title": NAME,
                "org.opencontainers.image.version": VERSION,
                "org.opencontainers.image.licenses": "(MIT OR Apache-2.0) AND LGPL-2.1-or-later",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [layer_id]},
        "history": [{"created": created, "created_by": "cargo xtask dist"}],
    });
    let config = blob(
        blobs,
        &serde_json::to_vec(&config)?,
        "application/vnd.oci.image.config.v1+json",
    )?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    });
    let mut manifest = blob(
        blobs,
        &serde_json::to_vec(&manifest)?,
        "application/vnd.oci.image.manifest.v1+json",
    )?;
    manifest["platform"] = json!({"architecture": payload.processor.debian(), "os": "linux"});
    let path_of = |descriptor: &Value| -> Result<String> {
        let digest = descriptor["digest"].as_str().context("a digest")?;
        Ok(format!("blobs/{}", digest.replace(':', "/")))
    };
    let for_docker = json!({
        "Config": path_of(&config)?,
        "RepoTags": [format!("{NAME}:{VERSION}")],
        "Layers": [path_of(&layer)?],
    });
    Ok(One { manifest, for_docker })
}

/// A tar file of what is in a directory, the same for the same files.
fn pack(dir: &Path, tar: &Path, moment: &Moment) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    let mut command = process::neutral("tar");
    command
        .args(["--create", "--format=ustar", "--sort=name", "--numeric-owner"])
        .args(["--owner=0", "--group=0", "--mode=u+rw,go+r,go-w"])
        .arg(format!("--mtime={}", moment.at()))
        .arg("--file")
        .arg(tar)
        .arg("--directory")
        .arg(dir)
        .args(names);
    process::run_quietly(&mut command).context("tar could not pack the image")
}

/// Writes a blob under its digest; returns what others say of it.
fn blob(blobs: &Path, bytes: &[u8], media_type: &str) -> Result<Value> {
    let unnamed = blobs.join("new");
    write(&unnamed, bytes)?;
    let sum = sums::of(&unnamed)?;
    fs::rename(&unnamed, blobs.join(&sum)).context("cannot name a blob")?;
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{sum}"), "size": bytes.len()}))
}

/// Reads an image back that lies unpacked in `layout`: every digest, size and reference must be right, and the layer of each processor
/// must have the program, root's, to be started by everyone.
pub fn check(layout: &Path, work: &Path, processors: &[Processor]) -> Result<()> {
    if read_json(layout, "oci-layout")?["imageLayoutVersion"] != "1.0.0" {
        bail!("the image says no version of its layout");
    }
    let index = read_json(layout, "index.json")?;
    let all = parsed(&read_blob(layout, &index["manifests"][0])?)?;
    let manifests = all["manifests"]
        .as_array()
        .context("the image has no manifests")?;
    if manifests.len() != processors.len() {
        bail!(
            "the image has {} manifests for {} processors",
            manifests.len(),
            processors.len()
        );
    }
    for (said, processor) in manifests.iter().zip(processors) {
        check_one(layout, said, *processor, work)?;
    }
    let docker = read_json(layout, "manifest.json")?;
    let first = parsed(&read_blob(layout, &manifests[0])?)?;
    for (named, said) in [
        (&docker[0]["Config"], &first["config"]),
        (&docker[0]["Layers"][0], &first["layers"][0]),
    ] {
        let digest = said["digest"].as_str().unwrap_or_default().replace(':', "/");
        if named != &Value::String(format!("blobs/{digest}")) {
            bail!("docker would read another image than others");
        }
    }
    Ok(())
}

fn parsed(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).context("the image has no JSON there")
}

fn read_json(layout: &Path, path: &str) -> Result<Value> {
    parsed(&fs::read(layout.join(path)).with_context(|| format!("the image has no {path}"))?)
}

/// What a descriptor names, which it must fit.
fn read_blob(layout: &Path, descriptor: &Value) -> Result<Vec<u8>> {
    let digest = descriptor["digest"].as_str().context("no digest")?;
    let path = layout.join("blobs").join(digest.replace(':', "/"));
    let bytes = fs::read(&path).with_context(|| format!("the image has no {digest}"))?;
    let is = format!("sha256:{}", sums::of(&path)?);
    if is != digest || descriptor["size"] != bytes.len() {
        bail!("{digest} of the image is not what is said of it");
    }
    Ok(bytes)
}

/// The image of one processor, by what is said of its manifest.
fn check_one(layout: &Path, said: &Value, processor: Processor, work: &Path) -> Result<()> {
    let manifest = parsed(&read_blob(layout, said)?)?;
    let config = parsed(&read_blob(layout, &manifest["config"])?)?;
    let layer = read_blob(layout, &manifest["layers"][0])?;
    for architecture in [&said["platform"]["architecture"], &config["architecture"]] {
        if architecture != processor.debian() {
            bail!("the image for {processor} says that it is for {architecture}");
        }
    }
    if config["rootfs"]["diff_ids"][0] != manifest["layers"][0]["digest"] {
        bail!("the image's layer is not the one that its configuration names");
    }
    let tar = work.join("layer-read.tar");
    write(&tar, &layer)?;
    let mut list = process::neutral("tar");
    let list = process::stdout_of(
        list.args(["--list", "--verbose", "--numeric-owner", "--file"])
            .arg(&tar),
    );
    let list = list.context("tar cannot read the image's layer")?;
    let entry = config["config"]["Entrypoint"][0].as_str().unwrap_or_default();
    let program = list
        .lines()
        .find(|line| line.split_whitespace().last() == entry.strip_prefix('/'));
    match program {
        Some(line) if line.starts_with("-rwxr-xr-x 0/0 ") => Ok(()),
        other => bail!(
            "the image cannot start {entry}: {}",
            other.unwrap_or("it is not there")
        ),
    }
}
