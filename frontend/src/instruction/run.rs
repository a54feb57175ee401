//! RUN.

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::ir::{DeviceRequest, NetworkMode, SecurityMode};
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
    /// `--network`; the build's if not given.
    pub network: NetworkMode,
    /// `--security`, with its place.
    pub security: Option<Spanned<SecurityMode>>,
    /// `--device`, any number.
    pub devices: Vec<DeviceRequest>,
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
        .map_or(Ok(NetworkMode::Default), |value| network(&value));
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

fn network(value: &Spanned<String>) -> Result<NetworkMode, Diagnostic> {
    match value.as_str() {
        "default" => Ok(NetworkMode::Default),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        other => {
            let message = format!("unsupported network mode {other:?}");
            Err(Diagnostic::error(Code::InvalidNetwork, value.span, message)
                .with_suggestion(other, ["default", "none", "host"]))
        }
    }
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

fn device(value: &Spanned<String>) -> Result<DeviceRequest, Diagnostic> {
    let mut request = DeviceRequest {
        name: String::new(),
        required: false,
    };
    for field in value.split(',') {
        match field.split_once('=') {
            None if field == "required" => request.required = true,
            Some(("required", flag)) => request.required = flag == "true",
            Some(("name", name)) => name.clone_into(&mut request.name),
            _ if request.name.is_empty() => field.clone_into(&mut request.name),
            _ => {
                let message = format!("unexpected field '{field}' in --device");
                return Err(Diagnostic::error(Code::InvalidDevice, value.span, message));
            }
        }
    }
    if request.name.is_empty() {
        let message = "--device needs the name of a device";
        return Err(Diagnostic::error(Code::InvalidDevice, value.span, message));
    }
    Ok(request)
}
