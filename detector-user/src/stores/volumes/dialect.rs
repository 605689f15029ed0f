//! What differs between RustFS and MinIO.

/// What differs between the programs.
#[derive(Debug)]
pub struct Dialect {
    pub volumes: &'static str,
    pub address: &'static str,
    /// The variable that names the node itself among the nodes.
    pub own_host: Option<&'static str>,
    pub storage_class: &'static str,
    pub set_size: &'static str,
    /// The commands that are no server.
    pub other_commands: &'static [&'static str],
    /// Whether `server` may be left out.
    pub bare: bool,
    /// The options without a value.
    pub flags: &'static [&'static str],
}

pub const RUSTFS: Dialect = Dialect {
    volumes: "RUSTFS_VOLUMES",
    address: "RUSTFS_ADDRESS",
    own_host: Some("RUSTFS_LOCAL_ENDPOINT_HOST"),
    storage_class: "RUSTFS_STORAGE_CLASS_STANDARD",
    set_size: "RUSTFS_ERASURE_SET_DRIVE_COUNT",
    other_commands: &["info", "tls", "diagnose", "inspect", "help"],
    bare: true,
    flags: &[
        "console-enable",
        "kms-enable",
        "kms-allow-insecure-dev-defaults",
        "buffer-profile-disable",
        "info",
        "help",
        "version",
        "h",
        "V",
    ],
};

pub const MINIO: Dialect = Dialect {
    volumes: "MINIO_VOLUMES",
    address: "MINIO_ADDRESS",
    own_host: None,
    storage_class: "MINIO_STORAGE_CLASS_STANDARD",
    set_size: "MINIO_ERASURE_SET_DRIVE_COUNT",
    other_commands: &["help", "gateway"],
    bare: false,
    flags: &[
        "quiet",
        "anonymous",
        "json",
        "no-compat",
        "help",
        "version",
        "h",
        "v",
    ],
};
