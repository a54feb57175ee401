//! `cooper login` and `logout`: credentials for registries, kept where docker keeps them.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use clap::Args;
use cooper_oci::DEFAULT_DOMAIN;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::Settings;
use crate::registry::{Client, Credential, Kept, domain_of};
use crate::report::{Exit, Report, print_data, print_error};

/// What docker calls its own registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Options of `cooper login`.
#[derive(Args, Clone, Debug)]
pub struct LoginArgs {
    /// Registry, by its host and port [default: Docker Hub]
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,

    /// User name
    #[arg(short, long)]
    pub username: Option<String>,

    /// Password or access token; others see it in the list of processes
    #[arg(short, long)]
    pub password: Option<String>,

    /// Read the password from stdin
    #[arg(long)]
    pub password_stdin: bool,
}

/// Options of `cooper logout`.
#[derive(Args, Clone, Debug)]
pub struct LogoutArgs {
    /// Registry, by its host and port [default: Docker Hub]
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

impl LoginArgs {
    /// Asks the registry whether it knows the user, and keeps what it is to be told from now on.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        self.check()?;
        let domain = domain(self.server.as_deref());
        let client = settings.registry_client(&settings.registry(&[])?)?;
        let known = self.known(&client, &domain)?;
        let credential = if let Some(known) = known {
            known
        } else {
            let typed = self.typed(&client, &domain)?;
            let logged_in = client.log_in(&domain, &typed);
            logged_in.map_err(|error| failed(&error))?
        };
        let kept = client.credentials().keep(&domain, &credential);
        if let Kept::File(path) = kept.map_err(|error| Report::from_error(&error))? {
            print_error(&format!(
                "WARNING: the credentials are stored unencrypted in {}; a credential helper \
                 (`credsStore` in that file) keeps them safer\n",
                path.display()
            ));
        }
        print_data("Login Succeeded\n")
    }

    fn check(&self) -> Result<(), Report> {
        if self.password.is_some() && self.password_stdin {
            return Err(Report::new(
                "--password and --password-stdin are mutually exclusive",
            ));
        }
        if self.password_stdin && self.username.is_none() {
            return Err(Report::new("--password-stdin needs --username"));
        }
        if self.password.is_some() {
            print_error(
                "WARNING: a password on the command line is seen by others; \
                 --password-stdin hides it\n",
            );
        }
        Ok(())
    }

    /// Tries what is stored, if no one else is named.
    fn known(&self, client: &Client, domain: &str) -> Result<Option<Credential>, Report> {
        if self.username.is_some() || self.password.is_some() {
            return Ok(None);
        }
        let stored = client.credentials().lookup(domain, "");
        let Some(stored) = stored.map_err(|error| Report::from_error(&error))? else {
            return Ok(None);
        };
        print_data("Authenticating with existing credentials...\n")?;
        match client.log_in(domain, &stored) {
            Ok(credential) => Ok(Some(credential)),
            Err(error) if io::stdin().is_terminal() => {
                print_error(&format!("Login did not succeed: {error}\n"));
                Ok(None)
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// Takes user and password from the options, from stdin or from the keyboard.
    fn typed(&self, client: &Client, domain: &str) -> Result<Credential, Report> {
        let complete = self.username.is_some() && (self.password.is_some() || self.password_stdin);
        if !complete && !io::stdin().is_terminal() {
            return Err(Report::new("there is no terminal to ask for the password")
                .hint("give --username and --password-stdin"));
        }
        let username = match &self.username {
            Some(username) => username.clone(),
            None => ask_username(client, domain)?,
        };
        let password = match &self.password {
            Some(password) => password.clone(),
            None if self.password_stdin => password_of_stdin()?,
            None => ask_password()?,
        };
        if username.is_empty() || password.is_empty() {
            let missing = if username.is_empty() {
                "user name"
            } else {
                "password"
            };
            return Err(Report::new(format!("the {missing} is empty")));
        }
        Ok(Credential::Basic { username, password })
    }
}

impl LogoutArgs {
    /// Forgets what is kept for the registry.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let domain = domain(self.server.as_deref());
        let client = settings.registry_client(&settings.registry(&[])?)?;
        let shown = if domain == DEFAULT_DOMAIN {
            DOCKER_HUB
        } else {
            &domain
        };
        let forgotten = client.credentials().forget(&domain);
        print_data(&if forgotten.map_err(|error| Report::from_error(&error))? {
            format!("Removing login credentials for {shown}\n")
        } else {
            format!("Not logged in to {shown}\n")
        })
    }
}

/// Returns the registry that `server` means: a host, or a URL as old versions of docker had it.
fn domain(server: Option<&str>) -> String {
    let server = server.unwrap_or(DEFAULT_DOMAIN);
    domain_of(server).to_owned()
}

fn failed(error: &crate::registry::RegistryError) -> Report {
    let report = Report::from_error(error);
    match error.hint() {
        Some(hint) => report.hint(hint),
        None => report,
    }
}

fn ask_username(client: &Client, domain: &str) -> Result<String, Report> {
    let stored = client.credentials().lookup(domain, "").ok().flatten();
    let old = match &stored {
        Some(Credential::Basic { username, .. }) => username.as_str(),
        _ => "",
    };
    let prompt = match old {
        "" => "Username: ".to_owned(),
        old => format!("Username ({old}): "),
    };
    print_data(&prompt)?;
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Report::from_error(&error).context("cannot read the user name"))?;
    let line = line.trim();
    Ok(if line.is_empty() { old } else { line }.to_owned())
}

fn password_of_stdin() -> Result<String, Report> {
    let mut text = String::new();
    let read = io::stdin().lock().read_to_string(&mut text);
    read.map_err(|error| {
        Report::from_error(&error).context("cannot read the password from stdin")
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn ask_password() -> Result<String, Report> {
    print_data("Password: ")?;
    let typed = Unseen::start()
        .and_then(|_unseen| read_typed(&mut io::stdin().lock()))
        .map_err(|error| Report::from_error(&error).context("cannot read the password"));
    print_data("\n")?;
    typed?.ok_or_else(|| Report::new("interrupted").exit(Exit::Interrupted))
}

/// Reads a line key by key; nothing if it was interrupted.
fn read_typed(keys: &mut impl Read) -> io::Result<Option<String>> {
    let mut typed = Vec::new();
    let mut key = [0];
    loop {
        if keys.read(&mut key)? == 0 {
            break;
        }
        match key[0] {
            b'\r' | b'\n' | 0x04 => break,
            0x03 => return Ok(None),
            0x15 => typed.clear(),
            0x08 | 0x7f => {
                // A character's last byte, and those that continue it.
                while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            byte => typed.push(byte),
        }
    }
    String::from_utf8(typed)
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The terminal while it shows nothing of what is typed; interrupts come as keys, so that it is
/// never left so.
struct Unseen {
    before: Termios,
}

impl Unseen {
    fn start() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut now = before.clone();
        now.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcsetattr(io::stdin(), OptionalActions::Flush, &now)?;
        Ok(Self { before })
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
        let _ = io::stdout().flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_named_by_its_host() {
        for (server, expected) in [
            (None, "docker.io"),
            (Some("docker.io"), "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("ghcr.io"), "ghcr.io"),
            (Some("https://r.example:5000/v2/"), "r.example:5000"),
            (Some("http://r.example/team/app"), "r.example"),
        ] {
            assert_eq!(domain(server), expected, "{server:?}");
        }
    }

    #[test]
    fn typed_passwords_can_be_mended() {
        for (keys, expected) in [
            ("secret\n", Some("secret")),
            ("secret", Some("secret")),
            ("secra\u{7f}et\r", Some("secret")),
            ("ü\u{7f}x\n", Some("x")),
            ("wrong\u{15}right\n", Some("right")),
            ("\u{7f}a\u{4}b", Some("a")),
            ("sec\u{3}", None),
        ] {
            let typed = read_typed(&mut keys.as_bytes()).expect("text");
            assert_eq!(typed.as_deref(), expected, "{keys:?}");
        }
    }
}
