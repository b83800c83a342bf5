//! Namespaces of the API socket.

use super::record::{decode_namespace, encode_namespace};
use super::{Metadata, Transaction, schema};
use crate::store::Column;
use crate::types::{Labels, Namespace, Scope};
use crate::{Error, Resource, Result};

/// How many namespaces are read at a time.
const PAGE: usize = 256;

impl Metadata {
    /// Reads the labels of a namespace; `None` when it does not exist.
    ///
    /// # Errors
    /// Those of the store.
    pub fn namespace(&self, name: &Namespace) -> Result<Option<Labels>> {
        let bytes = self.store.get(Column::Namespaces, &schema::leases::namespace(name))?;
        bytes.as_deref().map(decode_namespace).transpose()
    }

    /// Reads all namespaces, in the order of their names.
    ///
    /// # Errors
    /// Those of the store.
    pub fn namespaces(&self) -> Result<Vec<(Namespace, Labels)>> {
        let mut all = Vec::new();
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let entries = self.store.page(Column::Namespaces, &[], after.as_deref(), PAGE)?;
            for (key, value) in &entries {
                all.push((schema::leases::parse_namespace(key)?, decode_namespace(value)?));
            }
            match entries.into_iter().next_back() {
                Some((key, _)) => after = Some(key),
                None => return Ok(all),
            }
        }
    }
}

impl Transaction<'_> {
    /// Creates a namespace.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`].
    pub fn create_namespace(&mut self, name: &Namespace, labels: &Labels) -> Result<()> {
        if self.namespace(name)?.is_some() {
            return Err(Error::AlreadyExists(named(name)));
        }
        self.put_namespace(name, labels);
        Ok(())
    }

    /// Reads the labels of a namespace as this transaction left them; `None` when it does not exist.
    ///
    /// # Errors
    /// Those of the store.
    pub fn namespace(&self, name: &Namespace) -> Result<Option<Labels>> {
        let bytes = self.txn.get(Column::Namespaces, &schema::leases::namespace(name))?;
        bytes.as_deref().map(decode_namespace).transpose()
    }

    /// Sets the labels of a namespace, whether it exists or not.
    pub fn put_namespace(&mut self, name: &Namespace, labels: &Labels) {
        self.txn.put(Column::Namespaces, schema::leases::namespace(name), encode_namespace(labels));
    }

    /// Deletes a namespace. Returns false, changing nothing, where it still has leases: they go with it, but not in one
    /// transaction.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::WrongState`] where there are snapshots, blobs or ingests in it.
    pub fn delete_namespace(&mut self, name: &Namespace) -> Result<bool> {
        if self.namespace(name)?.is_none() {
            return Err(Error::NotFound(named(name)));
        }
        let scope = Scope::Api(name.clone());
        for (column, prefix, problem) in [
            (Column::Snapshots, schema::snapshots_of(&scope), "is not empty: it has snapshots"),
            (Column::Blobs, schema::content::prefix_of(&scope), "is not empty: it has blobs"),
            (Column::Ingests, schema::content::prefix_of(&scope), "is not empty: it has uploads in progress"),
        ] {
            if self.txn.has_prefix(column, &prefix)? {
                return Err(Error::WrongState { resource: named(name), problem });
            }
        }
        if self.txn.has_prefix(Column::Leases, &schema::leases::leases_of(name))? {
            return Ok(false);
        }
        self.txn.delete(Column::Namespaces, schema::leases::namespace(name));
        Ok(true)
    }

    /// Makes a namespace because something is made in it.
    pub(super) fn ensure_namespace(&mut self, name: &Namespace) -> Result<()> {
        if self.namespace(name)?.is_none() {
            self.put_namespace(name, &Labels::default());
        }
        Ok(())
    }
}

/// Names a namespace in an error.
fn named(name: &Namespace) -> Resource {
    Resource::Namespace(name.as_str().to_owned())
}
