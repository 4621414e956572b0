//! Local files. A put is durable when it returns, unless the durability is relaxed.
//!
//! A new file is written under a temporary name, synced, and only then linked to its own name, so that readers and
//! crashes never leave a partial file visible; then its directory is synced. Everything else is `object_store`'s own
//! file system, which hides names that end in `#` and digits: those are our temporary files too.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// The maximum number of files that are synced concurrently: several concurrent syncs cost little more than one.
const CONCURRENT: usize = 16;

/// What is on disk when a write is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Everything: data files, their directories, the catalog.
    #[default]
    Full,
    /// The catalog. The operating system writes the data files later: they survive the end of the process, but a power
    /// failure may lose the newest data files of commits that the catalog keeps.
    Catalog,
}

/// The modification time for a file, passed with a put ([`PutOptions::extensions`]). Only [`LocalFiles`] uses it:
/// readers of a local `_delta_log` take it for the commit's time, so the file has it from the moment it is visible.
#[derive(Clone, Copy, Debug)]
pub struct ModifiedAt(pub SystemTime);

/// A file to be put if its path is free.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Its path below the root.
    pub path: Path,
    /// Its content.
    pub bytes: Bytes,
    /// Its modification time.
    pub modified: SystemTime,
}

/// Files that are written and synced under temporary names. Dropping them removes them.
#[derive(Debug)]
pub struct StagedFiles {
    files: Vec<Staged>,
    durability: Durability,
}

impl StagedFiles {
    /// Puts the files in the order in which they were staged, and stops at the first whose path exists already: returns
    /// how many it put. The directory is synced once for all of them.
    ///
    /// # Errors
    /// Some of the first files may have been put.
    pub async fn put(self) -> Result<usize> {
        blocking(move || {
            let mut folders = std::collections::BTreeSet::new();
            let mut put = 0;
            for staged in self.files {
                match staged.create() {
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => break,
                    done => done.map_err(|e| failed(&staged.target, e))?,
                }
                put += 1;
                folders.extend(staged.target.parent().map(FsPath::to_path_buf));
            }
            for folder in folders.iter().filter(|_| self.durability == Durability::Full) {
                sync(folder).map_err(|e| failed(folder, e))?;
            }
            Ok(put)
        })
        .await
    }
}

/// A local directory as an object store. The directory need not exist before the first put.
#[derive(Clone, Debug)]
pub struct LocalFiles {
    root: Arc<PathBuf>,
    durability: Durability,
    files: Arc<OnceLock<LocalFileSystem>>,
}

impl LocalFiles {
    /// The directory `root`; with [`Durability::Full`] a put is durable when it returns.
    pub fn new(root: PathBuf, durability: Durability) -> Self {
        Self { root: Arc::new(root), durability, files: Arc::default() }
    }

    /// Syncs files and their directories to disk.
    pub async fn sync(&self, files: Vec<Path>) -> Result<()> {
        let sync_file = |path: Path| {
            let this = self.clone();
            blocking(move || {
                let file = this.existing(&path)?.path_to_filesystem(&path)?;
                sync(&file).map_err(|e| failed(&file, e))?;
                Ok(file)
            })
        };
        let files: Vec<PathBuf> =
            futures::stream::iter(files).map(sync_file).buffered(CONCURRENT).try_collect().await?;
        let this = self.clone();
        blocking(move || {
            let mut folders = std::collections::BTreeSet::new();
            for file in &files {
                // Includes the directory that contains the root: root directories may be new.
                let below = file.ancestors().skip(1).take_while(|dir| dir.starts_with(this.root.as_path()));
                folders.extend(below.map(FsPath::to_path_buf));
                folders.extend(this.root.parent().map(FsPath::to_path_buf));
            }
            // The deepest directory first.
            folders.iter().rev().try_for_each(|dir| sync(dir).map_err(|e| failed(dir, e)))
        })
        .await
    }

    /// Writes files under temporary names; [`StagedFiles::put`] then only links them to their own names.
    pub async fn stage(&self, files: Vec<NewFile>) -> Result<StagedFiles> {
        let stage = |file: NewFile| {
            let this = self.clone();
            blocking(move || {
                let (_, target) = this.ready(&file.path)?;
                let staged = Staged::write(&target, &file.bytes.into(), Some(file.modified), this.durability);
                staged.map_err(|e| failed(&target, e))
            })
        };
        let files = futures::stream::iter(files).map(stage).buffered(CONCURRENT).try_collect().await?;
        Ok(StagedFiles { files, durability: self.durability })
    }

    /// The file system below the root; `None` while the root does not exist.
    fn files(&self) -> Result<Option<&LocalFileSystem>> {
        if let Some(files) = self.files.get() {
            return Ok(Some(files));
        }
        match self.root.try_exists() {
            Ok(false) => Ok(None),
            Ok(true) => {
                let files = LocalFileSystem::new_with_prefix(self.root.as_path())?;
                Ok(Some(self.files.get_or_init(|| files)))
            }
            Err(e) => Err(failed(&self.root, e)),
        }
    }

    fn existing(&self, path: &Path) -> Result<&LocalFileSystem> {
        self.files()?.ok_or_else(|| Error::NotFound {
            path: self.root.join(path.as_ref()).display().to_string(),
            source: io::Error::from(io::ErrorKind::NotFound).into(),
        })
    }

    /// The file system, with its root created if necessary, and the path of `path` on disk, with its directory created.
    fn ready(&self, path: &Path) -> Result<(&LocalFileSystem, PathBuf)> {
        make_dir(&self.root, self.durability).map_err(|e| failed(&self.root, e))?;
        let files = self.existing(path)?;
        let target = files.path_to_filesystem(path)?;
        if let Some(dir) = target.parent() {
            make_dir(dir, self.durability).map_err(|e| failed(dir, e))?;
        }
        Ok((files, target))
    }
}

impl std::fmt::Display for LocalFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalFiles({})", self.root.display())
    }
}

#[async_trait]
impl ObjectStore for LocalFiles {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if let PutMode::Update(before) = &options.mode {
            // Another writer can create the file between this check and the rename; a file system cannot exclude that.
            let there = self.existing(path)?.head(path).await?;
            if there.e_tag != before.e_tag {
                let path = self.root.join(path.as_ref()).display().to_string();
                return Err(Error::Precondition { path, source: "it was changed concurrently".into() });
            }
        }
        let (this, path) = (self.clone(), path.clone());
        blocking(move || {
            let (_, target) = this.ready(&path)?;
            let create = matches!(options.mode, PutMode::Create);
            let time = options.extensions.get::<ModifiedAt>().map(|at| at.0);
            write(&target, &payload, create, time, this.durability).map_err(|e| failed(&target, e))?;
            Ok(PutResult { e_tag: None, version: None })
        })
        .await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let (this, at) = (self.clone(), path.clone());
        let target = blocking(move || Ok(this.ready(&at)?.1)).await?;
        let upload = self.existing(path)?.put_multipart_opts(path, options).await?;
        Ok(match self.durability {
            Durability::Full => Box::new(SyncedUpload { upload, target }),
            Durability::Catalog => upload,
        })
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.existing(path)?.get_opts(path, options).await
    }

    /// Reads these ranges alone. The default reads what is between ranges, too, which is most of a file of which some
    /// pages are read.
    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.existing(path)?.get_ranges(path, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.files() {
            Ok(Some(files)) => files.delete_stream(paths),
            Ok(None) => paths,
            Err(e) => futures::stream::once(async { Err(e) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.files() {
            Ok(Some(files)) => files.list(prefix),
            Ok(None) => futures::stream::empty().boxed(),
            Err(e) => futures::stream::once(async { Err(e) }).boxed(),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.files() {
            Ok(Some(files)) => files.list_with_offset(prefix, offset),
            Ok(None) => futures::stream::empty().boxed(),
            Err(e) => futures::stream::once(async { Err(e) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match self.files()? {
            Some(files) => files.list_with_delimiter(prefix).await,
            None => Ok(ListResult { common_prefixes: Vec::new(), objects: Vec::new() }),
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.existing(from)?.copy_opts(from, to, options).await
    }
}

/// An upload in parts whose file and directory are synced when it is complete.
#[derive(Debug)]
struct SyncedUpload {
    upload: Box<dyn MultipartUpload>,
    target: PathBuf,
}

#[async_trait]
impl MultipartUpload for SyncedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let done = self.upload.complete().await?;
        let target = self.target.clone();
        blocking(move || {
            let synced = sync(&target).and_then(|()| sync_parent(&target, Durability::Full));
            synced.map_err(|e| failed(&target, e))
        })
        .await?;
        Ok(done)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

fn write(
    target: &FsPath,
    payload: &PutPayload,
    create: bool,
    time: Option<SystemTime>,
    durability: Durability,
) -> io::Result<()> {
    let staged = Staged::write(target, payload, time, durability)?;
    if create { staged.create() } else { staged.replace() }?;
    drop(staged);
    sync_parent(target, durability)
}

/// A file that is written under a temporary name. Dropping it removes the file.
#[derive(Debug)]
struct Staged {
    target: PathBuf,
    path: PathBuf,
}

impl Staged {
    fn write(
        target: &FsPath,
        payload: &PutPayload,
        time: Option<SystemTime>,
        durability: Durability,
    ) -> io::Result<Self> {
        let mut path = target.as_os_str().to_os_string();
        path.push(format!("#{}", fastrand::u64(..)));
        let mut file = File::create_new(&path)?;
        let staged = Self { target: target.to_path_buf(), path: path.into() };
        payload.iter().try_for_each(|chunk| file.write_all(chunk))?;
        if let Some(time) = time {
            file.set_modified(time)?;
        }
        if durability == Durability::Full {
            file.sync_all()?;
        }
        Ok(staged)
    }

    /// Links it to its own name, unless a file of that name exists.
    fn create(&self) -> io::Result<()> {
        fs::hard_link(&self.path, &self.target)
    }

    /// Renames it to its own name and replaces an existing file.
    fn replace(&self) -> io::Result<()> {
        fs::rename(&self.path, &self.target)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // A file that is left only wastes space: readers ignore names of this form.
        let _ = fs::remove_file(&self.path);
    }
}

/// Creates a directory and its missing parents; each is synced into its parent.
fn make_dir(dir: &FsPath, durability: Durability) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        make_dir(parent, durability)?;
    }
    match fs::create_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    sync_parent(dir, durability)
}

fn sync_parent(path: &FsPath, durability: Durability) -> io::Result<()> {
    match path.parent().filter(|_| durability == Durability::Full) {
        Some(dir) => sync(dir),
        None => Ok(()),
    }
}

fn sync(path: &FsPath) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn failed(path: &FsPath, e: io::Error) -> Error {
    let kind = e.kind();
    let (path, source) = (path.display().to_string(), e.into());
    match kind {
        io::ErrorKind::NotFound => Error::NotFound { path, source },
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Error::PermissionDenied { path, source },
        _ => Error::Generic { store: "LocalFiles", source },
    }
}

async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(f).await.map_err(|e| Error::Generic { store: "LocalFiles", source: e.into() })?
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn create_never_overwrites_and_leaves_no_temporary_file() {
        for durability in [Durability::Full, Durability::Catalog] {
            check(durability).await;
        }
    }

    async fn check(durability: Durability) {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalFiles::new(dir.path().join("not/yet"), durability);
        let path = Path::from("a=1/x.json");
        assert!(matches!(store.get(&path).await, Err(Error::NotFound { .. })));
        assert_eq!(store.list(None).count().await, 0);
        let create = || PutOptions::from(PutMode::Create);
        store.put_opts(&path, "one".into(), create()).await.unwrap();
        let second = store.put_opts(&path, "two".into(), create()).await;
        assert!(matches!(second, Err(Error::AlreadyExists { .. })), "{second:?}");
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "one");
        store.put(&path, "three".into()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "three");
        let before = store.head(&path).await.unwrap();
        let update = |e_tag| PutOptions::from(PutMode::Update(object_store::UpdateVersion { e_tag, version: None }));
        let stale = store.put_opts(&path, "four".into(), update(Some("another".into()))).await;
        assert!(matches!(stale, Err(Error::Precondition { .. })), "{stale:?}");
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let mut timed = update(before.e_tag);
        timed.extensions.insert(ModifiedAt(at));
        store.put_opts(&path, "four".into(), timed).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "four");
        assert_eq!(fs::metadata(dir.path().join("not/yet/a=1/x.json")).unwrap().modified().unwrap(), at);
        store.sync(vec![path.clone()]).await.unwrap();
        let new = |name: &str, text: &'static str| NewFile {
            path: format!("a=1/{name}.json").into(),
            bytes: Bytes::from_static(text.as_bytes()),
            modified: at,
        };
        let files = vec![new("y", "1"), new("z", "2"), new("x", "3"), new("w", "4")];
        assert_eq!(
            store.stage(files).await.unwrap().put().await.unwrap(),
            2,
            "up to the one that is there, and nothing behind it"
        );
        assert_eq!(fs::metadata(dir.path().join("not/yet/a=1/z.json")).unwrap().modified().unwrap(), at);
        let mut names: Vec<_> =
            fs::read_dir(dir.path().join("not/yet/a=1")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["x.json", "y.json", "z.json"]);
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "four");
    }
}
