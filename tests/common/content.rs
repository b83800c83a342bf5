//! Blobs and uploads, call by call.

use std::time::Duration;

use leasehold::grpc::proto::containerd::services::content::v1 as api;
use leasehold::grpc::proto::containerd::services::content::v1::content_client::ContentClient;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status, Streaming};

use super::client::{Answer, Client, label_map};
use super::headers::Connection;
use super::random::Random;
use super::wait_for;

/// What containerd allows for one message, and we do.
pub const MAX_MESSAGE: usize = 16 << 20;

/// Longer than the end of a stream takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A Write stream.
pub struct Upload<'c> {
    client: &'c Client,
    messages: Option<mpsc::Sender<api::WriteContentRequest>>,
    replies: Streaming<api::WriteContentResponse>,
}

impl Client {
    pub fn content(&self) -> ContentClient<Connection> {
        let client = ContentClient::new(self.connection());
        // More than the daemon takes, so that it is the one to refuse.
        client.max_encoding_message_size(2 * MAX_MESSAGE).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Opens a stream with its first message, and returns the answer to that.
    pub fn open(&self, first: api::WriteContentRequest) -> Answer<(Upload<'_>, api::WriteContentResponse)> {
        let (messages, receiver) = mpsc::channel(1);
        let mut content = self.content();
        let replies = self.answer(async move { content.write(ReceiverStream::new(receiver)).await })?;
        let mut upload = Upload { client: self, messages: Some(messages), replies };
        let reply = upload.send(first)?;
        Ok((upload, reply))
    }

    /// Opens a stream by asking how far the ingest is, as containerd does.
    pub fn begin(&self, name: &str) -> Answer<Upload<'_>> {
        self.open(stat(name)).map(|(upload, _)| upload)
    }

    /// Opens a ref again as soon as its former stream has ended, which the daemon hears a moment later.
    pub fn reopen(&self, first: &api::WriteContentRequest) -> (Upload<'_>, api::WriteContentResponse) {
        let mut opened = None;
        wait_for("the end of the former stream", LIMIT, || match self.open(first.clone()) {
            Ok(answer) => {
                opened = Some(answer);
                true
            }
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                false
            }
        });
        opened.unwrap()
    }

    /// Uploads a blob as containerd pulls one: in pieces, with its size and digest only at the end. Returns its digest.
    pub fn store(&self, name: &str, data: &[u8]) -> Answer<String> {
        let (mut upload, reply) = self.open(api::WriteContentRequest { total: data.len() as i64, ..stat(name) })?;
        let mut offset = usize::try_from(reply.offset).unwrap();
        for piece in data.get(offset..).unwrap_or_default().chunks(1 << 20) {
            upload.write(offset, piece)?;
            offset += piece.len();
        }
        let digest = sha256(data);
        upload.commit(data.len(), &digest)?;
        Ok(digest)
    }

    pub fn blob(&self, digest: &str) -> Answer<api::Info> {
        let request = api::InfoRequest { digest: digest.into() };
        let mut content = self.content();
        self.answer(async move { content.info(request).await }).map(|answer| answer.info.unwrap())
    }

    pub fn update_blob(&self, digest: &str, labels: &[(&str, &str)], paths: &[&str]) -> Answer<api::Info> {
        let info = api::Info { digest: digest.into(), labels: label_map(labels), ..Default::default() };
        let mask = prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
        let request = api::UpdateRequest { info: Some(info), update_mask: Some(mask) };
        let mut content = self.content();
        self.answer(async move { content.update(request).await }).map(|answer| answer.info.unwrap())
    }

    pub fn delete_blob(&self, digest: &str) -> Answer<()> {
        let request = api::DeleteContentRequest { digest: digest.into() };
        let mut content = self.content();
        self.answer(async move { content.delete(request).await })
    }

    /// Returns the messages of a List.
    pub fn blob_pages(&self, filters: &[&str]) -> Answer<Vec<Vec<api::Info>>> {
        let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let mut content = self.content();
        self.answer(async move {
            let mut stream = content.list(api::ListContentRequest { filters }).await?.into_inner();
            let mut pages = Vec::new();
            while let Some(page) = stream.message().await? {
                pages.push(page.info);
            }
            Ok(Response::new(pages))
        })
    }

    /// Returns the digests of all blobs.
    pub fn blobs(&self) -> Vec<String> {
        self.blob_pages(&[]).unwrap().concat().into_iter().map(|info| info.digest).collect()
    }

    /// Returns the messages of a Read.
    pub fn read_chunks(&self, digest: &str, offset: i64, size: i64) -> Answer<Vec<api::ReadContentResponse>> {
        let request = api::ReadContentRequest { digest: digest.into(), offset, size };
        let mut content = self.content();
        self.answer(async move {
            let mut stream = content.read(request).await?.into_inner();
            let mut chunks = Vec::new();
            while let Some(chunk) = stream.message().await? {
                chunks.push(chunk);
            }
            Ok(Response::new(chunks))
        })
    }

    /// Reads a part of a blob.
    pub fn read_part(&self, digest: &str, offset: i64, size: i64) -> Answer<Vec<u8>> {
        let chunks = self.read_chunks(digest, offset, size)?;
        Ok(chunks.into_iter().flat_map(|chunk| chunk.data).collect())
    }

    /// Reads a whole blob.
    pub fn read_blob(&self, digest: &str) -> Answer<Vec<u8>> {
        self.read_part(digest, 0, 0)
    }

    pub fn status(&self, name: &str) -> Answer<api::Status> {
        let request = api::StatusRequest { r#ref: name.into() };
        let mut content = self.content();
        self.answer(async move { content.status(request).await }).map(|answer| answer.status.unwrap())
    }

    /// Returns all uploads in progress that match.
    pub fn statuses(&self, filters: &[&str]) -> Answer<Vec<api::Status>> {
        let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let mut content = self.content();
        self.answer(async move { content.list_statuses(api::ListStatusesRequest { filters }).await })
            .map(|answer| answer.statuses)
    }

    /// Returns the refs of all uploads in progress.
    pub fn refs(&self) -> Vec<String> {
        self.statuses(&[]).unwrap().into_iter().map(|status| status.r#ref).collect()
    }

    pub fn abort(&self, name: &str) -> Answer<()> {
        let request = api::AbortRequest { r#ref: name.into() };
        let mut content = self.content();
        self.answer(async move { content.abort(request).await })
    }
}

impl Upload<'_> {
    /// Sends a message and waits for the answer. Where the daemon ended the stream without a word, that is `Ok(None)`.
    pub fn try_send(&mut self, message: api::WriteContentRequest) -> Answer<Option<api::WriteContentResponse>> {
        let Upload { client, messages, replies } = self;
        client.run(async move {
            // Not taken when the stream has ended; then the answer says why.
            if let Some(messages) = messages {
                drop(messages.send(message).await);
            }
            replies.message().await
        })
    }

    pub fn send(&mut self, message: api::WriteContentRequest) -> Answer<api::WriteContentResponse> {
        self.try_send(message)?.ok_or_else(|| Status::new(Code::Cancelled, "the stream has ended"))
    }

    pub fn stat(&mut self) -> Answer<api::WriteContentResponse> {
        self.send(api::WriteContentRequest { action: api::WriteAction::Stat.into(), ..Default::default() })
    }

    pub fn write(&mut self, offset: usize, data: &[u8]) -> Answer<api::WriteContentResponse> {
        self.send(api::WriteContentRequest {
            action: api::WriteAction::Write.into(),
            offset: offset as i64,
            data: data.to_vec().into(),
            ..Default::default()
        })
    }

    /// Commits what was written, which is `total` bytes and has that digest; nothing and empty say nothing about it.
    pub fn commit(&mut self, total: usize, expected: &str) -> Answer<api::WriteContentResponse> {
        self.commit_at(total, total, expected)
    }

    pub fn commit_at(&mut self, offset: usize, total: usize, expected: &str) -> Answer<api::WriteContentResponse> {
        self.send(commit(offset, total, expected))
    }

    /// Says that no more messages follow, and waits until the daemon has heard it.
    pub fn close(mut self) {
        self.messages = None;
        let Upload { client, replies, .. } = &mut self;
        assert_eq!(client.run(replies.message()).unwrap(), None);
    }
}

/// The first message of a stream that asks how far the ingest is.
pub fn stat(name: &str) -> api::WriteContentRequest {
    api::WriteContentRequest { action: api::WriteAction::Stat.into(), r#ref: name.into(), ..Default::default() }
}

pub fn commit(offset: usize, total: usize, expected: &str) -> api::WriteContentRequest {
    api::WriteContentRequest {
        action: api::WriteAction::Commit.into(),
        offset: offset as i64,
        total: total as i64,
        expected: expected.into(),
        ..Default::default()
    }
}

pub fn sha256(data: &[u8]) -> String {
    digest_of("sha256", &Sha256::digest(data))
}

pub fn sha384(data: &[u8]) -> String {
    digest_of("sha384", &Sha384::digest(data))
}

pub fn sha512(data: &[u8]) -> String {
    digest_of("sha512", &Sha512::digest(data))
}

fn digest_of(algorithm: &str, bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{algorithm}:{hex}")
}

/// Returns data that no other call returns.
pub fn random_data(random: &mut Random, len: usize) -> Vec<u8> {
    let words = len.div_ceil(8);
    let mut data: Vec<u8> = (0..words).flat_map(|_| random.next().to_le_bytes()).collect();
    data.truncate(len);
    data
}
