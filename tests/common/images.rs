//! Test images: `testimage` makes them, the same bytes every time, and pushes them to a registry.

use std::process::Command;

use super::registry::Registry;
use super::tools::{built, installed, run};

/// How many layers the image [`Kind::Deep`] has.
pub const DEEP_LAYERS: usize = 70;

/// What is in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Two layers.
    Plain,
    /// Everything that a layer can hold and do to the layers below.
    Full,
    /// Many layers, each of which changes what the one before it made.
    Deep,
}

/// An image in a registry.
#[derive(Clone, Debug)]
pub struct Image {
    pub kind: Kind,
    pub reference: String,
    /// The chain id of each layer, from the base layer up.
    pub layers: Vec<String>,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Plain => "plain",
            Kind::Full => "full",
            Kind::Deep => "deep",
        }
    }
}

impl Image {
    /// Makes an image and pushes it. All kinds share the base layer.
    pub fn push(registry: &Registry, kind: Kind) -> Image {
        let reference = registry.reference(&format!("test:{}", kind.name()));
        let described = run(Command::new(built("bin/testimage"))
            .args(["-kind", kind.name(), "-push", &reference])
            .args(["-layers", &DEEP_LAYERS.to_string()])
            .arg("-busybox")
            .arg(installed("busybox")));
        let described: serde_json::Value = serde_json::from_str(&described).unwrap();
        let layers = described["layers"].as_array().unwrap();
        let layers = layers.iter().map(|layer| layer["chain_id"].as_str().unwrap().to_owned()).collect();
        Image { kind, reference, layers }
    }

    /// Returns the chain id of the whole image.
    pub fn chain_id(&self) -> &str {
        self.layers.last().unwrap()
    }

    /// Returns a shell script that succeeds in a container of this image, if its tree is right.
    pub fn check(&self) -> String {
        match self.kind {
            Kind::Plain => "test -s /seed".into(),
            // Names say what must not be there.
            Kind::Full => "test -s /seed && test -z \"$(find / -xdev -name '*gone*')\"".into(),
            Kind::Deep => {
                let last = self.layers.len() - 1;
                format!("test $(cat /deep/last) = {last} && test \"$(ls /deep/only)\" = layer-{last}")
            }
        }
    }
}
