//! RUN.

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::ir::{DeviceRequest, NetworkMode, SecurityMode};
use crate::quantity;
use crate::source::Spanned;
use crate::syntax::{Heredoc, Statement};

use super::command::{CommandLine, command_line};
use super::flags::{Flags, Takes};
use super::mount::MountSpec;

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The command, with its `<<WORD` marks.
    pub command: CommandLine,
    /// The here-documents.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, any number.
    pub mounts: Vec<MountSpec>,
    /// `--network`, with its place; the build's if not given.
    pub network: Option<Spanned<NetworkMode>>,
    /// `--security`, with its place.
    pub security: Option<Spanned<SecurityMode>>,
    /// `--device`, any number.
    pub devices: Vec<Spanned<DeviceRequest>>,
}

pub(super) fn parse(statement: &Statement) -> Result<Run, Diagnostics> {
    let flags = Flags::check(
        statement,
        &[
            ("mount", Takes::Many),
            ("network", Takes::Text),
            ("security", Takes::Text),
            ("device", Takes::Many),
        ],
    )?;
    let mut errors = Vec::new();
    let mut mounts = Vec::new();
    for value in flags.many("mount") {
        MountSpec::parse(&value).map_or_else(|error| errors.push(error), |spec| mounts.push(spec));
    }
    let network = flags
        .text("network")
        .map(|value| network(&value))
        .transpose();
    let security = flags
        .text("security")
        .map(|value| security(&value))
        .transpose();
    let devices: Result<Vec<_>, _> = flags.many("device").iter().map(device).collect();
    match (network, security, devices) {
        (Ok(network), Ok(security), Ok(devices)) if errors.is_empty() => Ok(Run {
            command: command_line(statement)?,
            heredocs: statement.heredocs.clone(),
            mounts,
            network,
            security,
            devices,
        }),
        (network, security, devices) => {
            errors.extend(network.err());
            errors.extend(security.err());
            errors.extend(devices.err());
            Err(errors)
        }
    }
}

fn network(value: &Spanned<String>) -> Result<Spanned<NetworkMode>, Diagnostic> {
    let mode = match value.as_str() {
        "default" => NetworkMode::Default,
        "none" => NetworkMode::None,
        "host" => NetworkMode::Host,
        other => {
            let message = format!("unsupported network mode {other:?}");
            return Err(Diagnostic::error(Code::InvalidNetwork, value.span, message)
                .with_suggestion(other, ["default", "none", "host"]));
        }
    };
    Ok(Spanned::new(mode, value.span))
}

fn security(value: &Spanned<String>) -> Result<Spanned<SecurityMode>, Diagnostic> {
    let mode = match value.as_str() {
        "sandbox" => SecurityMode::Sandbox,
        "insecure" => SecurityMode::Insecure,
        other => {
            let message = format!("security {other:?} is not valid");
            return Err(
                Diagnostic::error(Code::InvalidSecurity, value.span, message)
                    .with_suggestion(other, ["sandbox", "insecure"]),
            );
        }
    };
    Ok(Spanned::new(mode, value.span))
}

/// Parses `NAME[,required[=BOOL]]` or the same with `name=NAME`.
fn device(value: &Spanned<String>) -> Result<Spanned<DeviceRequest>, Diagnostic> {
    let invalid = |message: String| Diagnostic::error(Code::InvalidDevice, value.span, message);
    let mut request = DeviceRequest {
        name: String::new(),
        required: false,
    };
    for (index, field) in value.split(',').enumerate() {
        match field.split_once('=') {
            None if field == "required" => request.required = true,
            Some(("required", flag)) => {
                request.required = quantity::boolean(flag)
                    .ok_or_else(|| invalid(format!("invalid value for required: {flag}")))?;
            }
            Some(("name", name)) if request.name.is_empty() => name.clone_into(&mut request.name),
            // A CDI name holds an equals sign itself.
            _ if index == 0 => field.clone_into(&mut request.name),
            _ => return Err(invalid(format!("unexpected field '{field}' in --device"))),
        }
    }
    if request.name.is_empty() {
        return Err(invalid("--device needs the name of a device".to_owned()));
    }
    Ok(Spanned::new(request, value.span))
}
