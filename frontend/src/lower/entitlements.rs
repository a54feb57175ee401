//! What a RUN asks for beyond the usual, which the command line must have allowed.

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::instruction::Run;
use crate::ir::{DeviceRequest, NetworkMode, SecurityMode};
use crate::source::{Span, Spanned};

use super::stage::StageLowering;

impl StageLowering<'_, '_> {
    /// Returns the devices of a step by their own names, or everything that it may not have.
    ///
    /// The build's default network needs no leave, whatever it is: `--network=host` of the
    /// command line is leave by itself.
    pub(super) fn check_entitlements(&self, run: &Run) -> Result<Vec<DeviceRequest>, Diagnostics> {
        let allowed = &self.lowering.plan.settings.entitlements;
        let mut errors = Vec::new();
        if let Some(mode) = &run.network
            && mode.value == NetworkMode::Host
            && !allowed.network_host
        {
            errors.push(refused("network.host", mode.span));
        }
        if let Some(mode) = &run.security
            && mode.value == SecurityMode::Insecure
            && !allowed.insecure
        {
            errors.push(refused("security.insecure", mode.span));
        }
        let mut devices = Vec::new();
        for request in &run.devices {
            match allowed.devices.find(&request.name) {
                Some(name) => devices.push(DeviceRequest {
                    name,
                    required: request.required,
                }),
                None => errors.push(refused_device(request)),
            }
        }
        if errors.is_empty() {
            Ok(devices)
        } else {
            Err(errors)
        }
    }
}

fn refused(entitlement: &str, span: Span) -> Diagnostic {
    let help = format!("pass --allow {entitlement} if you trust this Dockerfile");
    Diagnostic::error(
        Code::NotAllowed,
        span,
        format!("{entitlement} is not allowed"),
    )
    .with_help(help)
}

fn refused_device(request: &Spanned<DeviceRequest>) -> Diagnostic {
    let name = &request.name;
    let help = format!("pass --allow device={name} if you trust this Dockerfile");
    let message = format!("device {name} is not allowed");
    Diagnostic::error(Code::NotAllowed, request.span, message).with_help(help)
}
