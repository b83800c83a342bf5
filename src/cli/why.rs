//! `leasehold why`

use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;

use crate::config::Config;
use crate::grpc::proto::leasehold::admin::v1::{Explained, Hold, WhyRequest};
use crate::types::Namespace;

use super::containerd::{Image, Socket, Wanted, find_in};
use super::daemon::Daemon;
use super::text;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Key or name of a snapshot, digest of a blob, a path below the pool, or an image that containerd has.
    #[arg(value_name = "KEY|DIGEST|PATH|IMAGE")]
    what: String,
    /// Look in this namespace only.
    #[arg(long, short)]
    namespace: Option<String>,
    #[command(flatten)]
    containerd: Socket,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

/// Exits with 0 when there is such a thing, held or not; else with 1.
pub(super) fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let mut daemon = Daemon::connect(config)?.context("no daemon is running")?;
    let found = why(&mut daemon, absolute(&args.what), args.namespace.as_deref().unwrap_or_default())?;
    // Only what is nothing else can be an image: containerd need not be there otherwise.
    let images = if found.is_empty() { images(&mut daemon, args)? } else { Vec::new() };
    if args.json {
        let all = found.iter().chain(images.iter().flat_map(|image| &image.found));
        println!("{:#}", json!(all.map(to_json).collect::<Vec<_>>()));
    } else {
        found.iter().for_each(print);
        images.iter().for_each(print_image);
    }
    if found.is_empty() && images.is_empty() {
        eprintln!("leasehold: there is nothing of that name");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn why(daemon: &mut Daemon, what: String, namespace: &str) -> anyhow::Result<Vec<Explained>> {
    let request = WhyRequest { what, namespace: namespace.to_owned() };
    Ok(daemon.call_collections(async |client| client.why(request).await)?.found)
}

/// An image, and what keeps its layers.
struct OfImage {
    namespace: Namespace,
    name: String,
    /// Of the topmost snapshots that are there.
    found: Vec<Explained>,
}

/// Looks for images of that name, and asks what keeps the topmost of their layers: the others are its parents.
fn images(daemon: &mut Daemon, args: &Args) -> anyhow::Result<Vec<OfImage>> {
    let containerd = args.containerd.connect().context("there is nothing of that name, unless it is an image's")?;
    let namespaces = match &args.namespace {
        Some(namespace) => vec![Namespace::parse(namespace.as_str())?],
        None => containerd.namespaces()?,
    };
    let mut images = Vec::new();
    for namespace in namespaces {
        let Some(record) = find_in(&containerd, &namespace, &args.what)? else { continue };
        let image = Image::resolve(&record, &Wanted::All, &mut |digest| containerd.document(&namespace, digest))?;
        let mut found = Vec::new();
        for top in image.manifests.iter().filter_map(|manifest| manifest.chain_ids.last()) {
            found.extend(why(daemon, top.clone(), namespace.as_str())?);
        }
        images.push(OfImage { namespace, name: image.name, found });
    }
    Ok(images)
}

/// Makes a path absolute where it is one; anything else is left as it is.
fn absolute(what: &str) -> String {
    let path = what.starts_with('.').then(|| std::path::absolute(what).ok()).flatten();
    path.and_then(|path| path.into_os_string().into_string().ok()).unwrap_or_else(|| what.to_owned())
}

fn to_json(found: &Explained) -> serde_json::Value {
    let to_json = |hold: &Hold| json!({ "kind": hold.kind, "namespace": hold.namespace, "name": hold.name, "reason": hold.reason });
    let [holds, after] =
        [&found.holds, &found.after_removal].map(|holds| holds.iter().map(to_json).collect::<Vec<_>>());
    json!({
        "kind": found.kind, "namespace": found.namespace, "name": found.name, "held": !found.holds.is_empty(),
        "holds": holds, "after_removal": after,
    })
}

fn print_image(image: &OfImage) {
    println!("image {}", place(image.namespace.as_str(), &text::name(&image.name, true)));
    if image.found.is_empty() {
        println!("  none of its layers is here: it is not unpacked by leasehold");
    }
    image.found.iter().for_each(print);
}

fn print(found: &Explained) {
    println!("{} {}", what_it_is(&found.kind), place(&found.namespace, &found.name));
    if found.holds.is_empty() {
        println!("  nothing: will be reclaimed");
    }
    for (depth, hold) in found.holds.iter().enumerate() {
        println!("{}{}", "  ".repeat(depth + 1), shown(hold));
    }
    if ["containerd", "blob"].contains(&found.kind.as_str()) && found.after_removal.is_empty() {
        println!("  after a removal nothing would keep it");
    }
    for hold in &found.after_removal {
        println!("  after a removal: {}", shown(hold));
    }
}

fn shown(hold: &Hold) -> String {
    format!("{} {}: {}", hold.kind, place(&hold.namespace, &hold.name), hold.reason)
}

fn what_it_is(kind: &str) -> &str {
    match kind {
        "containerd" => "snapshot of containerd",
        "retained" => "retained snapshot",
        "blob" => "blob of containerd",
        "retained-blob" => "retained blob",
        "snapshot" => "snapshot of the API socket",
        "trash" => "layer in trash",
        other => other,
    }
}

fn place(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{name} in {namespace}") }
}
