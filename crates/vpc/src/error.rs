//! Errors of the EC2 API: a code from EC2's list, a message for the caller, a context for the log.
//!
//! Source: [AWS doc AWSEC2/latest/APIReference/errors-overview.html, 2026-11-23].

use std::fmt;

/// A refused call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Ec2Error {
    /// EC2's code.
    pub code: ErrorCode,
    /// What the caller reads.
    pub message: String,
    /// What only the log gets; empty where the message says it all.
    pub context: String,
}

impl Ec2Error {
    /// An error whose message says everything.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            context: String::new(),
        }
    }

    /// Adds what only the log gets.
    #[must_use]
    pub fn with_context(mut self, context: impl Into<String>) -> Self {
        self.context = context.into();
        self
    }

    /// The HTTP status of the answer.
    pub fn http_status(&self) -> u16 {
        self.code.http_status()
    }

    /// A parameter that the action needs is not there.
    pub fn missing(parameter: &str) -> Self {
        Self::new(
            ErrorCode::MissingParameter,
            format!("The request must contain the parameter {parameter}"),
        )
    }

    /// A parameter's value is not allowed.
    pub fn invalid_value(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidParameterValue, message)
    }

    /// Parameters that cannot be given together.
    pub fn combination(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidParameterCombination, message)
    }

    /// Something else still uses the resource.
    pub fn dependency(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::DependencyViolation, message)
    }
}

macro_rules! error_codes {
    ($($name:ident = $text:literal, $status:literal;)*) => {
        /// EC2's error codes that the model answers with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $(#[doc = concat!("`", $text, "`.")] $name,)*
        }

        impl ErrorCode {
            /// All codes, for tables and tests.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code as in the answer.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The HTTP status that goes with the code.
            pub const fn http_status(self) -> u16 {
                match self {
                    $(Self::$name => $status,)*
                }
            }
        }
    };
}

error_codes! {
    AddressLimitExceeded = "AddressLimitExceeded", 400;
    AuthFailure = "AuthFailure", 403;
    AttachmentLimitExceeded = "AttachmentLimitExceeded", 400;
    CannotDelete = "CannotDelete", 400;
    CidrLimitExceeded = "CidrLimitExceeded", 400;
    DefaultVpcAlreadyExists = "DefaultVpcAlreadyExists", 400;
    DependencyViolation = "DependencyViolation", 400;
    DryRunOperation = "DryRunOperation", 412;
    FilterLimitExceeded = "FilterLimitExceeded", 400;
    GatewayNotAttached = "Gateway.NotAttached", 400;
    IdempotentParameterMismatch = "IdempotentParameterMismatch", 400;
    IncorrectInstanceState = "IncorrectInstanceState", 400;
    IncorrectState = "IncorrectState", 400;
    InstanceLimitExceeded = "InstanceLimitExceeded", 400;
    InsufficientAddressCapacity = "InsufficientAddressCapacity", 500;
    InsufficientCidrBlocks = "InsufficientCidrBlocks", 400;
    InsufficientFreeAddressesInSubnet = "InsufficientFreeAddressesInSubnet", 400;
    InternalError = "InternalError", 500;
    InternetGatewayLimitExceeded = "InternetGatewayLimitExceeded", 400;
    InvalidAddressInUse = "InvalidIPAddress.InUse", 400;
    InvalidAddressNotFound = "InvalidAddress.NotFound", 400;
    InvalidAllocationIdMalformed = "InvalidAllocationID.Malformed", 400;
    InvalidAllocationIdNotFound = "InvalidAllocationID.NotFound", 400;
    InvalidAmiIdMalformed = "InvalidAMIID.Malformed", 400;
    InvalidAmiIdNotFound = "InvalidAMIID.NotFound", 400;
    InvalidAmiNameDuplicate = "InvalidAMIName.Duplicate", 400;
    InvalidAmiNameMalformed = "InvalidAMIName.Malformed", 400;
    InvalidAssociationIdMalformed = "InvalidAssociationID.Malformed", 400;
    InvalidAssociationIdNotFound = "InvalidAssociationID.NotFound", 400;
    InvalidAttachmentIdNotFound = "InvalidAttachmentID.NotFound", 400;
    InvalidCidrInUse = "InvalidCidr.InUse", 400;
    InvalidDhcpOptionsIdMalformed = "InvalidDhcpOptionsId.Malformed", 400;
    InvalidDhcpOptionsIdNotFound = "InvalidDhcpOptionsID.NotFound", 400;
    InvalidGatewayIdNotFound = "InvalidGatewayID.NotFound", 400;
    InvalidGroupDuplicate = "InvalidGroup.Duplicate", 400;
    InvalidGroupIdMalformed = "InvalidGroupId.Malformed", 400;
    InvalidGroupNotFound = "InvalidGroup.NotFound", 400;
    InvalidId = "InvalidID", 400;
    InvalidInstanceId = "InvalidInstanceID", 400;
    InvalidInstanceIdMalformed = "InvalidInstanceID.Malformed", 400;
    InvalidInstanceIdNotFound = "InvalidInstanceID.NotFound", 400;
    InvalidInternetGatewayIdMalformed = "InvalidInternetGatewayId.Malformed", 400;
    InvalidInternetGatewayIdNotFound = "InvalidInternetGatewayID.NotFound", 400;
    InvalidKeyFormat = "InvalidKey.Format", 400;
    InvalidKeyPairDuplicate = "InvalidKeyPair.Duplicate", 400;
    InvalidKeyPairNotFound = "InvalidKeyPair.NotFound", 400;
    InvalidManifest = "InvalidManifest", 400;
    InvalidNetworkInterfaceAttachmentIdMalformed = "InvalidNetworkInterfaceAttachmentId.Malformed", 400;
    InvalidNetworkInterfaceIdMalformed = "InvalidNetworkInterfaceId.Malformed", 400;
    InvalidNetworkInterfaceIdNotFound = "InvalidNetworkInterfaceID.NotFound", 400;
    InvalidNetworkInterfaceInUse = "InvalidNetworkInterface.InUse", 400;
    InvalidNextToken = "InvalidNextToken", 400;
    InvalidParameterCombination = "InvalidParameterCombination", 400;
    InvalidParameterValue = "InvalidParameterValue", 400;
    InvalidPermissionDuplicate = "InvalidPermission.Duplicate", 400;
    InvalidPermissionNotFound = "InvalidPermission.NotFound", 400;
    InvalidReservationIdMalformed = "InvalidReservationID.Malformed", 400;
    InvalidReservationIdNotFound = "InvalidReservationID.NotFound", 400;
    InvalidRouteNotFound = "InvalidRoute.NotFound", 400;
    InvalidRouteTableIdMalformed = "InvalidRouteTableId.Malformed", 400;
    InvalidRouteTableIdNotFound = "InvalidRouteTableID.NotFound", 400;
    InvalidSecurityGroupRuleIdMalformed = "InvalidSecurityGroupRuleId.Malformed", 400;
    InvalidSecurityGroupRuleIdNotFound = "InvalidSecurityGroupRuleId.NotFound", 400;
    InvalidSubnetCidrBlockAssociationIdMalformed = "InvalidSubnetCidrBlockAssociationID.Malformed", 400;
    InvalidSubnetCidrBlockAssociationIdNotFound = "InvalidSubnetCidrBlockAssociationID.NotFound", 400;
    InvalidSubnetConflict = "InvalidSubnet.Conflict", 400;
    InvalidSubnetIdMalformed = "InvalidSubnetID.Malformed", 400;
    InvalidSubnetIdNotFound = "InvalidSubnetID.NotFound", 400;
    InvalidSubnetRange = "InvalidSubnet.Range", 400;
    InvalidUserDataMalformed = "InvalidUserData.Malformed", 400;
    InvalidVpcCidrBlockAssociationIdMalformed = "InvalidVpcCidrBlockAssociationID.Malformed", 400;
    InvalidVpcCidrBlockAssociationIdNotFound = "InvalidVpcCidrBlockAssociationID.NotFound", 400;
    InvalidVpcIdMalformed = "InvalidVpcID.Malformed", 400;
    InvalidVpcIdNotFound = "InvalidVpcID.NotFound", 400;
    InvalidVpcRange = "InvalidVpc.Range", 400;
    KeyPairLimitExceeded = "KeyPairLimitExceeded", 400;
    MissingInput = "MissingInput", 400;
    MissingParameter = "MissingParameter", 400;
    NetworkInterfaceLimitExceeded = "NetworkInterfaceLimitExceeded", 400;
    OperationNotPermitted = "OperationNotPermitted", 400;
    PrivateIpAddressLimitExceeded = "PrivateIpAddressLimitExceeded", 400;
    ResourceLimitExceeded = "ResourceLimitExceeded", 400;
    ResourceAlreadyAssociated = "Resource.AlreadyAssociated", 400;
    RouteAlreadyExists = "RouteAlreadyExists", 400;
    RouteLimitExceeded = "RouteLimitExceeded", 400;
    RouteTableLimitExceeded = "RouteTableLimitExceeded", 400;
    RulesPerSecurityGroupLimitExceeded = "RulesPerSecurityGroupLimitExceeded", 400;
    SecurityGroupLimitExceeded = "SecurityGroupLimitExceeded", 400;
    SecurityGroupsPerInterfaceLimitExceeded = "SecurityGroupsPerInterfaceLimitExceeded", 400;
    SubnetLimitExceeded = "SubnetLimitExceeded", 400;
    TagLimitExceeded = "TagLimitExceeded", 400;
    UnsupportedOperation = "UnsupportedOperation", 400;
    VpcIdNotSpecified = "VPCIdNotSpecified", 400;
    VpcLimitExceeded = "VpcLimitExceeded", 400;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_client_errors_are_4xx() {
        let mut seen = std::collections::BTreeSet::new();
        for code in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{code} occurs twice");
            assert!(matches!(code.http_status(), 400..=599), "{code}");
        }
    }
}
