//! Redaction of credentials in a URI before an error, a listing or a log shows it.

const HIDDEN: &str = "***";

/// `uri` without possible credentials: the user and password before an `@`, the values of its query except those of the
/// `shown` keys, and its fragment.
pub fn redacted(uri: &str, shown: &[&str]) -> String {
    let authority = uri.find("://").map_or(0, |at| at + 3);
    // The last `@` in the text: a password may contain any character, including `?` and `#`.
    let (before, rest) = match uri.rfind('@') {
        Some(at) if at >= authority && is_credential(uri, authority, at) => {
            (format!("{}{HIDDEN}", &uri[..authority]), &uri[at..])
        }
        _ => (String::new(), uri),
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (path, query) = rest.split_at(end);
    let query = match query.strip_prefix('?') {
        Some(pairs) => {
            let pair = |pair: &str| match pair.split_once('=') {
                Some((key, _)) if shown.contains(&key) => pair.to_string(),
                Some((key, _)) => format!("{key}={HIDDEN}"),
                None => HIDDEN.to_string(),
            };
            format!("?{}", pairs.split('&').map(pair).collect::<Vec<_>>().join("&"))
        }
        None if query.is_empty() => String::new(),
        None => format!("#{HIDDEN}"),
    };
    format!("{before}{path}{query}")
}

/// Whether the text before the `@` can be a credential: in a path it is part of a name, and in Azure's
/// `abfss://container@account` it is a container.
fn is_credential(uri: &str, authority: usize, at: usize) -> bool {
    let part = &uri[authority..at];
    let azure = uri.starts_with("abfs") || uri.starts_with("az");
    part.contains(':') || (authority > 0 && !azure && !part.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_credentials_are_redacted() {
        let check = |uri: &str, expected: &str| assert_eq!(redacted(uri, &["table"]), expected);
        check("postgres://etl:secret@db/lake", "postgres://***@db/lake");
        check("postgres://etl:se/cr?e#t@db/lake", "postgres://***@db/lake");
        check("deltasql://postgres/etl:secret@db/lake/x", "deltasql://***@db/lake/x");
        check("etl:secret@db/lake", "***@db/lake");
        check("s3://token@bucket/t", "s3://***@bucket/t");
        check("deltasql://postgres/d?passwd=secret&table=a.b&x", "deltasql://postgres/d?passwd=***&table=a.b&***");
        check("https://a.blob.core.windows.net/c/t?sv=1&sig=abc", "https://a.blob.core.windows.net/c/t?sv=***&sig=***");
        check("s3://bucket/t#secret", "s3://bucket/t#***");
        for same in ["", "/data/a@b", "./x", "file:///data/a@b/t", "abfss://container@account/t", "s3://bucket/a b"] {
            check(same, same);
        }
    }
}
