//! The processors that guests may have.

/// A processor, by Debian's name of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Arch {
    #[default]
    Amd64,
    Arm64,
}

impl Arch {
    pub const fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The end of the names of kernels for virtual machines.
    pub const fn flavour(self) -> &'static str {
        match self {
            Self::Amd64 => "-cloud-amd64",
            Self::Arm64 => "-cloud-arm64",
        }
    }

    pub const fn qemu(self) -> &'static str {
        match self {
            Self::Amd64 => "qemu-system-x86_64",
            Self::Arm64 => "qemu-system-aarch64",
        }
    }

    /// The machine. All processors are emulated on one thread: with several, kernels crashed while
    /// programs were attached.
    pub const fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "-machine q35 -cpu max",
            Self::Arm64 => "-machine virt -cpu cortex-a72",
        }
    }

    pub const fn console(self) -> &'static str {
        match self {
            Self::Amd64 => "ttyS0",
            Self::Arm64 => "ttyAMA0",
        }
    }

    /// The kernel's own name of it, in the paths of modules.
    pub const fn in_kernel(self) -> &'static str {
        match self {
            Self::Amd64 => "x86",
            Self::Arm64 => "arm64",
        }
    }

    /// The kernels that are tested if none are named.
    pub fn kernels(self) -> Vec<&'static str> {
        match self {
            Self::Amd64 => super::KERNELS.into_iter().chain([super::NEWEST]).collect(),
            Self::Arm64 => vec!["6.12"],
        }
    }
}
