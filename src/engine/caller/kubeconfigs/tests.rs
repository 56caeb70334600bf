//! Kubeconfigs as administrators have them, in temporary folders.

use std::fs;

use super::*;
use crate::api::AuthorityRecord;
use crate::pki::{CertificateAuthority, KeyAlgorithm};

/// Two CAs of the cluster, recorded as CAVersions 1 and 2, a stranger, and an admin's pair from CA 1.
struct World {
    folder: tempfile::TempDir,
    one: CertificateAuthority,
    two: CertificateAuthority,
    stranger: CertificateAuthority,
    record: Record,
    key: PrivateKey,
    certificate: Certificate,
}

fn ca(name: &str) -> CertificateAuthority {
    let year = jiff::SignedDuration::from_hours(8760);
    CertificateAuthority::generate(name, KeyAlgorithm::EcdsaP256, year, now()).unwrap()
}

fn now() -> jiff::Timestamp {
    "2031-05-06T07:08:09Z".parse().unwrap()
}

fn issue(ca: &CertificateAuthority, key: &PrivateKey) -> Certificate {
    let year = jiff::SignedDuration::from_hours(8760);
    ca.issue_client("admin", &["admins".to_owned()], key.spki_der(), year, now()).unwrap()
}

fn new_key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
}

impl World {
    fn new() -> Self {
        let (one, two, stranger) = (ca("kubernetes"), ca("kubernetes"), ca("proxy"));
        let mut record = Record { completed: 1, ..Record::default() };
        for (version, ca) in [(1, &one), (2, &two)] {
            let authority = AuthorityRecord {
                id: ca.certificate().ca_id(),
                certificate: ca.certificate().to_pem(),
                crosses: Vec::new(),
                specimen_server: None,
                specimen_client: None,
            };
            record.add(version, &authority);
        }
        let key = new_key();
        let certificate = issue(&one, &key);
        let world = Self { folder: tempfile::tempdir().unwrap(), one, two, stranger, record, key, certificate };
        world.write("pki/admin.crt", &world.certificate.to_pem(), 0o644);
        world.write("pki/admin.key", &world.key.to_pem(), 0o600);
        world.write("pki/ca.crt", &world.one.certificate().to_pem(), 0o644);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str, mode: u32) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A kubeconfig with one cluster and one user, the bodies given as YAML in one line.
    fn kubeconfig(&self, name: &str, cluster: &str, user: &str) {
        let text = format!(
            "current-context: c\nclusters:\n- {{name: k, cluster: {cluster}}}\ncontexts:\n\
             - {{name: c, context: {{cluster: k, user: u}}}}\nusers:\n- {{name: u, user: {user}}}\n"
        );
        self.write(name, &text, 0o600);
    }

    fn open(&self, names: &[&str]) -> CallerFiles {
        CallerFiles::open(names.iter().map(|name| self.path(name)).collect(), &Choice::default()).unwrap()
    }

    fn ids(&self) -> [CaId; 2] {
        [self.one.certificate().ca_id(), self.two.certificate().ca_id()]
    }
}

const CA_FILE: &str = "{server: 'https://a:6443', certificate-authority: pki/ca.crt}";
const IN_FILES: &str = "{client-certificate: pki/admin.crt, client-key: pki/admin.key}";

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn a_certificate_in_a_file_of_its_own_is_renewed_there_over_the_same_key() {
    let world = World::new();
    world.kubeconfig("config", CA_FILE, IN_FILES);
    let (config, key) = (world.read("config"), world.read("pki/admin.key"));
    let mut files = world.open(&["config"]);
    assert_eq!(files.certificate().unwrap(), Some(world.certificate.clone()), "relative to the kubeconfig's folder");
    let Held::Files { certificate: path, key: held } = files.held().unwrap() else { panic!("it is in files") };
    assert_eq!(path, world.path("pki/admin.crt"));
    let new = issue(&world.two, &held);
    files.put(&Held::Files { certificate: path, key: held.clone() }, &new, &held, &world.record).unwrap();
    files.write(&world.record).unwrap();
    assert_eq!(world.read("pki/admin.crt"), new.to_pem());
    assert_eq!(world.read("pki/admin.crt.ca-1"), world.certificate.to_pem(), "the old one stays beside it");
    assert_eq!((world.read("config"), world.read("pki/admin.key")), (config, key), "nothing else is touched");
    let mode = fs::metadata(world.path("pki/admin.crt")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o644, "who could read it still can");
    assert!(held.matches(&new));
}

#[test]
fn what_cannot_be_switched_with_one_rename_is_refused_with_the_files_named() {
    let world = World::new();
    let both = format!("{}{}", world.certificate.to_pem(), &*world.key.to_pem());
    world.write("both.pem", &both, 0o600);
    world.write("other.key", &new_key().to_pem(), 0o600);
    world.write("hardware.key", "pkcs11:token=x", 0o600);
    let inline = base64(&world.certificate.to_pem());
    let problem = |user: &str| {
        world.kubeconfig("config", CA_FILE, user);
        world.open(&["config"]).held().err().unwrap_or_default()
    };
    assert!(problem("{client-certificate: both.pem, client-key: both.pem}").contains("in one file, "));
    assert!(
        problem("{client-certificate: pki/admin.crt, client-key: other.key}").contains("other.key is not the key of ")
    );
    assert!(
        problem("{client-certificate: pki/admin.crt, client-key: hardware.key}")
            .contains("hardware.key: no private key")
    );
    assert!(problem("{client-certificate: pki/admin.crt, client-key: absent.key}").contains("cannot read "));
    assert!(problem(&format!("{{client-certificate-data: {inline}, client-key: pki/admin.key}}")).contains("not both"));
    assert!(problem("{client-certificate: pki/admin.crt, client-key-data: QUJD}").contains("not both"));
    assert_eq!(problem(IN_FILES), "");
}

#[test]
fn a_credential_that_cannot_be_renewed_is_a_blocker_with_a_remedy_and_one_of_others_is_not() {
    let mut world = World::new();
    let blocker = |world: &World, user: &str| {
        world.kubeconfig("config", CA_FILE, user);
        world.open(&["config"]).blocker(&world.record).map(|blocker| blocker.to_string()).unwrap_or_default()
    };
    assert_eq!(blocker(&world, IN_FILES), "");
    assert_eq!(blocker(&world, "{token: t}"), "", "a token does not end with the CA");
    assert_eq!(blocker(&world, "{exec: {command: aws, args: [eks]}}"), "");
    assert!(blocker(&world, "{exec: {command: /bin/certctl, args: [credential-plugin]}}").contains("--exec"));
    let half =
        format!("{{client-certificate-data: {}, client-key: pki/admin.key}}", base64(&world.certificate.to_pem()));
    let told = blocker(&world, &half);
    assert!(
        told.starts_with("kubeconfig ") && told.contains("config, user `u`: ") && told.contains("set-credentials u "),
        "{told}"
    );
    assert!(blocker(&world, "{client-certificate: absent.crt, client-key: x}").contains("absent.crt"));
    world.certificate = issue(&world.stranger, &world.key);
    world.write("pki/admin.crt", &world.certificate.to_pem(), 0o644);
    assert_eq!(blocker(&world, "{client-certificate: pki/admin.crt, client-key: absent.key}"), "", "of another CA");
    let year = jiff::SignedDuration::from_hours(8760);
    let master = world.one.issue_client("root", &[MASTERS.to_owned()], world.key.spki_der(), year, now()).unwrap();
    world.write("pki/admin.crt", &master.to_pem(), 0o644);
    assert!(blocker(&world, IN_FILES).contains("signs for nobody (use a kubeconfig of another admin"));
}

#[test]
fn credential_and_trust_are_each_written_to_the_file_of_the_list_that_has_them() {
    let world = World::new();
    world.kubeconfig("trust", CA_FILE, "{token: unused}");
    let pair = (base64(&world.certificate.to_pem()), base64(&world.key.to_pem()));
    let user = format!("{{client-certificate-data: {}, client-key-data: {}}}", pair.0, pair.1);
    world.write("users", &format!("users:\n- {{name: admin, user: {user}}}\n"), 0o600);
    world.kubeconfig("third", "{server: 'https://b:6443'}", "{}");
    let third = world.read("third");
    let choice = Choice { user: Some("admin".into()), ..Choice::default() };
    let paths = ["trust", "users", "third"].map(|name| world.path(name)).to_vec();
    let mut files = CallerFiles::open(paths.clone(), &choice).unwrap();
    assert!(files.object().ends_with("users, user `admin`"), "{}", files.object());
    let key = new_key();
    let place = files.held().unwrap();
    files.put(&place, &issue(&world.two, &key), &key, &world.record).unwrap();
    files.trust(&world.ids(), &world.record).unwrap();
    files.write(&world.record).unwrap();
    let again = CallerFiles::open(paths, &choice).unwrap();
    assert!(again.certificate().unwrap().unwrap().signed_by(world.two.certificate()));
    assert_eq!(again.trusted().unwrap(), world.record.certificates(&world.ids()));
    assert!(world.read("trust").contains("token: unused") && !world.read("trust").contains("client-certificate"));
    assert_eq!(world.read("third"), third);
    assert!(world.path("trust.ca-1").exists() && world.path("users.ca-1").exists());
    assert!(!world.path("third.ca-1").exists(), "what is not written has no old version");
    assert_eq!(world.read("pki/ca.crt"), world.one.certificate().to_pem(), "the file that was referred to is not ours");
}

#[test]
fn trust_of_others_stays_and_where_the_clusters_ca_is_not_trusted_nothing_is_added() {
    let world = World::new();
    let trust = |cluster: &str, wanted: &[CaId]| {
        world.kubeconfig("config", cluster, IN_FILES);
        let before = world.read("config");
        let mut files = world.open(&["config"]);
        files.trust(wanted, &world.record).unwrap();
        files.write(&world.record).unwrap();
        (world.read("config") == before, world.open(&["config"]).trusted().unwrap())
    };
    let ids = world.ids();
    let (one, two) = ids.split_at(1);
    let pem =
        |cas: &[&CertificateAuthority]| base64(&cas.iter().map(|ca| ca.certificate().to_pem()).collect::<String>());
    let with = |data: String| format!("{{certificate-authority-data: {data}, server: 'https://a:6443'}}");
    let (_, mixed) = trust(&with(pem(&[&world.stranger, &world.one])), &[two, one].concat());
    let all = [&world.two, &world.one, &world.stranger].map(|ca| ca.certificate().clone());
    assert_eq!(mixed, all);
    assert!(trust(&with(pem(&[&world.stranger])), two).0, "a proxy with a CA of its own");
    assert!(trust("{server: 'https://a:6443', insecure-skip-tls-verify: true}", two).0);
    assert!(trust(CA_FILE, one).0, "the file holds what is wanted already");
    let (same, narrowed) = trust(CA_FILE, two);
    assert_eq!((same, narrowed), (false, vec![world.two.certificate().clone()]));
}

#[test]
fn a_kubeconfig_that_is_a_link_stays_one_and_its_old_version_is_kept_once() {
    let world = World::new();
    world.kubeconfig("real", CA_FILE, IN_FILES);
    let original = world.read("real");
    std::os::unix::fs::symlink("real", world.path("config")).unwrap();
    for wanted in [&world.ids()[..], &world.ids()[1..]] {
        let mut files = world.open(&["config"]);
        files.trust(wanted, &world.record).unwrap();
        files.write(&world.record).unwrap();
    }
    assert!(fs::symlink_metadata(world.path("config")).unwrap().is_symlink());
    assert_eq!(world.read("config.ca-1"), original);
    assert_eq!(world.open(&["real"]).trusted().unwrap(), [world.two.certificate().clone()]);
}

#[test]
fn a_file_that_cannot_be_read_or_understood_is_named() {
    let world = World::new();
    let open = |name: &str| CallerFiles::open(vec![world.path(name)], &Choice::default()).err().unwrap();
    assert!(open("absent").contains("/absent: "));
    world.write("broken", "users: [", 0o600);
    assert!(open("broken").contains("/broken: kubeconfig: not readable YAML"));
}
