//! Namespaces of the API socket.
//!
//! One exists once it was created, or anything was made in it. Deleting one takes its leases along, and is refused while
//! there is anything else in it, as in containerd.

use std::sync::Arc;
use std::time::SystemTime;

use crate::leases::Leases;
use crate::metadata::{LabelUpdate, Metadata};
use crate::types::{Labels, Namespace};
use crate::{Result, failpoint};

/// The namespaces of one pool.
pub struct Namespaces {
    metadata: Arc<Metadata>,
    leases: Arc<Leases>,
}

impl Namespaces {
    /// Makes the namespaces of a pool.
    pub fn new(metadata: Arc<Metadata>, leases: Arc<Leases>) -> Namespaces {
        Namespaces { metadata, leases }
    }

    /// Creates a namespace.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`](crate::Error::AlreadyExists).
    pub fn create(&self, name: &Namespace, labels: &Labels) -> Result<()> {
        let mut txn = self.metadata.write(SystemTime::now())?;
        txn.create_namespace(name, labels)?;
        txn.commit()
    }

    /// Returns the labels of a namespace. One that does not exist has none, as in containerd.
    ///
    /// # Errors
    /// Those of the store.
    pub fn labels(&self, name: &Namespace) -> Result<Labels> {
        Ok(self.metadata.namespace(name)?.unwrap_or_default())
    }

    /// Returns all namespaces, in the order of their names.
    ///
    /// # Errors
    /// Those of the store.
    pub fn list(&self) -> Result<Vec<(Namespace, Labels)>> {
        self.metadata.namespaces()
    }

    /// Changes the labels of a namespace and returns what they are now. It is created where it does not exist, as in
    /// containerd.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a label that is too long.
    pub fn update(&self, name: &Namespace, update: LabelUpdate) -> Result<Labels> {
        let mut txn = self.metadata.write(SystemTime::now())?;
        let labels = update.apply(txn.namespace(name)?.unwrap_or_default())?;
        txn.put_namespace(name, &labels);
        txn.commit()?;
        Ok(labels)
    }

    /// Deletes a namespace with its leases.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound); [`Error::WrongState`](crate::Error::WrongState) where there is
    /// anything else in it.
    pub fn delete(&self, name: &Namespace) -> Result<()> {
        loop {
            let mut txn = self.metadata.write(SystemTime::now())?;
            if txn.delete_namespace(name)? {
                return txn.commit();
            }
            drop(txn);
            // Others may go on creating some; whoever deletes a namespace that is in use wants that to end.
            self.leases.delete_all(name)?;
            failpoint::hit("namespace: leases deleted");
        }
    }
}
