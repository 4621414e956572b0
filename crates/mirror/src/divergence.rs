//! Commits in `_delta_log` that are not the catalog's: the table stops, and nothing is overwritten.

use deltalakedb_log::{Artifact, MirrorState, Result, TableEntry, TxnLogError, Version, metric};

use crate::later_commit::LaterCommit;
use crate::mirror::Mirror;
use crate::put::{Failure, commit_path, is_torn, read};
use crate::superseded::check_not_superseded;

impl Mirror {
    /// Publishing of a diverged table resumes as soon as the other writer's commit is removed from `_delta_log`.
    pub(crate) async fn check_following(&self, entry: &TableEntry) -> Result<()> {
        let MirrorState::Diverged { version, what } = &entry.mirror else { return Ok(()) };
        let there = read(self.store(entry)?.as_ref(), &commit_path(*version)).await?;
        let expected = if *version <= entry.current_version {
            self.catalog.reader(entry.id).commit_bytes(*version).await?
        } else {
            None
        };
        let is_in_the_way =
            there.is_some_and(|there| expected.is_none_or(|expected| there != expected && !is_torn(&there, &expected)));
        if !is_in_the_way {
            // If the state has changed, the next check of the table finds it.
            self.catalog.set_mirror(entry, &MirrorState::Following).await?;
            return Ok(());
        }
        let (name, place) = (&entry.name, &entry.location);
        Err(TxnLogError::invalid(format!(
            "{name} is not published: version {version} in its _delta_log was written by another writer ({what}); \
             `dl verify {name}` shows the difference, and `dl mirror repair {name} --ours` moves it out of \
             {place}/_delta_log and publishes the catalog's version, and `--theirs` keeps it"
        )))
    }

    /// Checks for a commit after the newest of the catalog. It is another writer's, or the catalog's own from before it
    /// was restored from a backup: the table stops. Returns `true` if the entry is outdated, because versions were
    /// committed and published here since it was read.
    pub(crate) async fn check_for_foreign_commit(&self, entry: &TableEntry) -> Result<bool> {
        let found = LaterCommit::find(self.catalog.as_ref(), entry, self.store(entry)?.as_ref()).await?;
        let Some(commit) = found else { return Ok(false) };
        let (name, place) = (&entry.name, &entry.location);
        let import =
            if commit.can_be_imported(entry) { format!("`dl import {name}` imports it, and ") } else { String::new() };
        let LaterCommit { version, what, .. } = commit;
        if !self.catalog.set_mirror(entry, &MirrorState::Diverged { version, what: what.clone() }).await? {
            return Ok(true);
        }
        tracing::warn!(table = %name, location = %place, version, what, "diverged");
        check_not_superseded(self.catalog.as_ref(), entry, self.store(entry)?.as_ref(), version).await?;
        Err(TxnLogError::invalid(format!(
            "publishing of {name} stopped: version {version} in {place}/_delta_log is not in the catalog ({what}); \
             `dl verify {name}` shows it: {import}`dl mirror repair {name} --ours` moves it out of the log"
        )))
    }

    /// Records a failure, and returns the error.
    pub(crate) async fn record_failure(
        &self,
        entry: &TableEntry,
        version: Version,
        failure: Failure,
    ) -> Result<TxnLogError> {
        let (name, place) = (&entry.name, &entry.location);
        metric::MIRROR_FAILURES.add_one_for(name);
        match failure {
            Failure::Foreign(what) => {
                tracing::warn!(table = %name, location = %place, version, what, "diverged");
                let state = MirrorState::Diverged { version, what: what.clone() };
                // If the state has changed, another process has recorded or resolved the divergence.
                self.catalog.set_mirror(entry, &state).await?;
                check_not_superseded(self.catalog.as_ref(), entry, self.store(entry)?.as_ref(), version).await?;
                Ok(TxnLogError::invalid(format!(
                    "publishing of {name} stopped: version {version} in {place}/_delta_log was written by another \
                     writer ({what}); nothing was overwritten: `dl verify {name}` shows the difference, and \
                     `dl mirror repair {name} --ours` keeps the catalog's commits, `--theirs` the other ones"
                )))
            }
            Failure::Error(e) => {
                tracing::debug!(table = %name, location = %place, version, error = %e, "not published");
                let now = self.clock.now_ms();
                self.catalog.mark_failed(entry.id, version, Artifact::Commit, &e.to_string(), now).await?;
                let message = format!(
                    "version {version} of {name} is committed but could not be published to {place}/_delta_log; \
                     `dl mirror run` tries again"
                );
                Ok(TxnLogError::new(e.kind(), message).with_source(e))
            }
        }
    }
}
