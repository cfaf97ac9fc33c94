//! An image for containers from scratch: one layer with the binary and the licences, in the OCI image layout (opencontainers/image-spec
//! v1.1, image-layout.md) in one tar file, with the list that `docker load` reads beside it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::moment::Moment;
use super::payload::place;
use super::{VERSION, sums, write};
use crate::{process, workspace};

/// What is said of the image without a registry's name.
pub const NAME: &str = "observer";

/// As it is called in `target/dist`.
pub fn file_name() -> String {
    format!("observer-{VERSION}-image.tar")
}

/// Builds it in `work` and leaves it in `dir`.
pub fn build(binary: &Path, notices: &str, work: &Path, dir: &Path, moment: &Moment) -> Result<()> {
    let layer = work.join("layer");
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    place(&layer, "observer", 0o755, &read(binary)?)?;
    place(&layer, "third-party.txt", 0o644, notices.as_bytes())?;
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        place(&layer, name, 0o644, &read(&workspace::root().join(name))?)?;
    }
    let layout = work.join("layout");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).with_context(|| format!("cannot make {}", blobs.display()))?;

    let tar = work.join("layer.tar");
    pack(&layer, &tar, moment)?;
    let layer_id = format!("sha256:{}", sums::of(&tar)?);
    // Not packed by gzip: whoever stores or sends it does that, and whoever reads it back need not undo it.
    let layer = blob(&blobs, &read(&tar)?, "application/vnd.oci.image.layer.v1.tar")?;
    let created = moment.as_json()?;
    let config = json!({
        "created": created,
        "architecture": "amd64",
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
        &blobs,
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
        &blobs,
        &serde_json::to_vec(&manifest)?,
        "application/vnd.oci.image.manifest.v1+json",
    )?;
    manifest["annotations"] = json!({
        "org.opencontainers.image.ref.name": VERSION,
        "io.containerd.image.name": format!("docker.io/library/{NAME}:{VERSION}"),
    });
    manifest["platform"] = json!({"architecture": "amd64", "os": "linux"});
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    let path_of = |descriptor: &Value| -> Result<String> {
        let digest = descriptor["digest"].as_str().context("a digest")?;
        Ok(format!("blobs/{}", digest.replace(':', "/")))
    };
    let for_docker = json!([{
        "Config": path_of(&config)?,
        "RepoTags": [format!("{NAME}:{VERSION}")],
        "Layers": [path_of(&layer)?],
    }]);
    write(&layout.join("index.json"), &serde_json::to_vec(&index)?)?;
    write(&layout.join("manifest.json"), &serde_json::to_vec(&for_docker)?)?;
    write(&layout.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    pack(&layout, &dir.join(file_name()), moment)
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

/// Reads an image back that lies unpacked in `layout`: every digest, size and reference must be right, and the layer must have the
/// program, root's, to be started by everyone.
pub fn check(layout: &Path, work: &Path) -> Result<()> {
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).context("the image has no JSON there");
    let read = |path: &str| fs::read(layout.join(path)).with_context(|| format!("the image has no {path}"));
    let blob = |descriptor: &Value| -> Result<Vec<u8>> {
        let digest = descriptor["digest"].as_str().context("no digest")?;
        let path = format!("blobs/{}", digest.replace(':', "/"));
        let bytes = read(&path)?;
        let is = format!("sha256:{}", sums::of(&layout.join(&path))?);
        if is != digest || descriptor["size"] != bytes.len() {
            bail!("{path} of the image is not what is said of it");
        }
        Ok(bytes)
    };
    if json(&read("oci-layout")?)?["imageLayoutVersion"] != "1.0.0" {
        bail!("the image says no version of its layout");
    }
    let index = json(&read("index.json")?)?;
    let manifest = json(&blob(&index["manifests"][0])?)?;
    let config = json(&blob(&manifest["config"])?)?;
    let layer = blob(&manifest["layers"][0])?;
    if config["rootfs"]["diff_ids"][0] != manifest["layers"][0]["digest"] {
        bail!("the image's layer is not the one that its configuration names");
    }
    let docker = json(&read("manifest.json")?)?;
    for (named, said) in [
        (&docker[0]["Config"], &manifest["config"]),
        (&docker[0]["Layers"][0], &manifest["layers"][0]),
    ] {
        let digest = said["digest"].as_str().unwrap_or_default().replace(':', "/");
        if named != &Value::String(format!("blobs/{digest}")) {
            bail!("docker would read another image than others");
        }
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
