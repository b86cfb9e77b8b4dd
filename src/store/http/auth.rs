//! Credentials: the header that carries them, and keeping them out of every text.
//! Prints no secret, and knows no request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::redact::blank;

/// Bytes of a secret that is in no name by chance; a password like "test" may be.
const NO_CHANCE: usize = 16;

/// How a client proves who it is. Its `Debug` shows no secret.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Bearer TOKEN`.
    Bearer(SecretString),
    /// `Authorization: Basic`, from a user and a password.
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// Any header, for instance `X-Chroma-Token`.
    Header {
        /// The header's name.
        name: String,
        /// Its whole value.
        value: SecretString,
    },
}

impl Auth {
    /// The header to send with every request; an error says what is wrong with it, without the secret.
    pub(super) fn header(&self) -> Result<Option<(HeaderName, HeaderValue)>, String> {
        let (name, value) = match self {
            Self::None => return Ok(None),
            Self::Bearer(token) => (AUTHORIZATION, format!("Bearer {}", token.expose_secret())),
            Self::Basic { user, password } => (AUTHORIZATION, format!("Basic {}", encoded(user, password))),
            Self::Header { name, value } => {
                let name = HeaderName::try_from(name.as_str()).map_err(|_| format!("{name:?} is no header's name"))?;
                (name, value.expose_secret().to_owned())
            }
        };
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| format!("the secret for the header {name} holds a line break or another control character"))?;
        value.set_sensitive(true);
        Ok(Some((name, value)))
    }

    /// What to check when a server answers 401 (it does not know who asks) or 403 (it knows, and does not allow it).
    pub(super) fn hint(&self, status: u16) -> String {
        match self {
            Self::None if status == 403 => {
                "no credentials were given, and without them it does not allow this here; give some, or allow it"
                    .to_owned()
            }
            _ if status == 403 => "it does not allow this with these credentials; allow it, or give others".to_owned(),
            Self::None => "no credentials were given; give a bearer token, a user and password, or a header".to_owned(),
            Self::Bearer(_) => "check the bearer token, and that it may use this tenant and database".to_owned(),
            Self::Basic { user, .. } => format!("check the user {user:?} and its password"),
            Self::Header { name, .. } => format!("check the value of the header {name:?}"),
        }
    }

    /// The text with every trace of the secret blanked: a server may echo what it was sent. To be called before a text is
    /// cut, or what is left of the secret is not found.
    pub(super) fn redact(&self, text: &str) -> String {
        self.secrets().iter().fold(text.to_owned(), |text, secret| blank(&text, secret.trim()))
    }

    /// Whether a name holds a secret that is too long to be in it by chance.
    pub(super) fn is_in(&self, name: &str) -> bool {
        self.secrets().iter().any(|secret| secret.trim().len() >= NO_CHANCE && name.contains(secret.trim()))
    }

    fn secrets(&self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::Bearer(secret) => vec![secret.expose_secret().to_owned()],
            Self::Header { value, .. } => with_last_word(value.expose_secret()),
            Self::Basic { user, password } => vec![encoded(user, password), password.expose_secret().to_owned()],
        }
    }
}

/// A header's value, and the token in it: `Token abc` may come back as `abc`.
fn with_last_word(value: &str) -> Vec<String> {
    let word = value.split_whitespace().last().filter(|word| word.len() >= 8);
    [value].into_iter().chain(word).map(str::to_owned).collect()
}

fn encoded(user: &str, password: &SecretString) -> String {
    STANDARD.encode(format!("{user}:{}", password.expose_secret()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every() -> [Auth; 3] {
        let secret = || SecretString::from("hunter2");
        [
            Auth::Bearer(secret()),
            Auth::Basic { user: "ada".into(), password: secret() },
            Auth::Header { name: "X-Chroma-Token".into(), value: secret() },
        ]
    }

    #[test]
    fn no_secret_is_printed() {
        for auth in every() {
            let header = auth.header().unwrap();
            let text = format!("{auth:?} {header:?} {} {}", auth.hint(401), auth.redact("you sent hunter2"));
            assert!(!text.contains("hunter2"), "{text}");
            assert!(!auth.redact("Basic YWRhOmh1bnRlcjI= hunter2").contains("hunter2"));
        }
        assert_eq!(every()[1].redact("Basic YWRhOmh1bnRlcjI="), "Basic [secret]");
    }

    #[test]
    fn a_server_that_knows_who_asks_and_refuses_says_nothing_against_the_secret() {
        for auth in every() {
            assert!(auth.hint(401).starts_with("check the"), "{}", auth.hint(401));
            assert!(auth.hint(403).contains("does not allow this with these credentials"), "{}", auth.hint(403));
        }
        assert!(Auth::None.hint(401).contains("give a bearer token"));
        assert!(Auth::None.hint(403).contains("without them it does not allow this"));
    }

    #[test]
    fn each_kind_has_its_header() {
        let sent = every().map(|auth| {
            let (name, value) = auth.header().unwrap().unwrap();
            format!("{name}: {}", value.to_str().unwrap())
        });
        assert_eq!(
            sent,
            ["authorization: Bearer hunter2", "authorization: Basic YWRhOmh1bnRlcjI=", "x-chroma-token: hunter2"]
        );
    }

    #[test]
    fn an_impossible_secret_is_named_without_being_shown() {
        let problem = Auth::Bearer(SecretString::from("hunter2\nX: y")).header().unwrap_err();
        assert!(problem.contains("line break") && !problem.contains("hunter2"), "{problem}");
    }
}
