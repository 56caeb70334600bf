//! The client of the new CA: it comes by itself when a control-plane node's `admin.conf` is signed by another CA than at
//! the start, believes only that CA, and reads the file again whenever it changes.
//!
//! It is stricter than any real user: in the middle of a rotation nobody has a kubeconfig that trusts the new CA alone. So
//! a target counts from the first request that it answers to the newcomer, not from the moment the file appears; from then
//! on it must answer every one. When an `admin.conf` goes back to the old CA (a rollback) the newcomer leaves. A rollback
//! takes certificates and files back in one go but not in one instant, so a failure is held back for a second and forgotten
//! if the newcomer has left by then.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::kubeconfig::Credentials;
use super::source::KubeconfigFile;

pub struct Newcomer {
    starting_issuer: Vec<u8>,
    /// The `admin.conf` of each control-plane node, with whether it was seen signed by a new CA.
    files: Vec<(KubeconfigFile, Cell<bool>)>,
    credentials: RefCell<Option<(usize, Rc<Credentials>)>>,
    left: Cell<bool>,
}

/// What a look at the files showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    Nothing,
    Arrived,
    Left,
}

impl Newcomer {
    pub fn new(starting_issuer: Vec<u8>, files: Vec<KubeconfigFile>) -> Newcomer {
        let files = files.into_iter().map(|file| (file, Cell::new(false))).collect();
        Newcomer { starting_issuer, files, credentials: RefCell::new(None), left: Cell::new(false) }
    }

    /// Looks at every file once. A file that cannot be read says nothing: its node may be off.
    pub fn look(&self) -> News {
        let mut news = News::Nothing;
        for (index, (file, seen_new)) in self.files.iter().enumerate() {
            let Ok(credentials) = file.current() else { continue };
            let new = credentials.issuer != self.starting_issuer;
            let mut held = self.credentials.borrow_mut();
            match (new, held.as_ref().map(|(chosen, _)| *chosen)) {
                (true, None) => {
                    *held = Some((index, credentials));
                    news = News::Arrived;
                }
                (true, Some(chosen)) if chosen == index => *held = Some((index, credentials)),
                (false, Some(_)) if seen_new.get() => {
                    self.left.set(true);
                    return News::Left;
                }
                _ => {}
            }
            seen_new.set(new);
        }
        news
    }

    pub fn has_left(&self) -> bool {
        self.look();
        self.left.get()
    }

    pub fn current(&self) -> Result<Rc<Credentials>, String> {
        let held = self.credentials.borrow();
        held.as_ref()
            .map(|(_, credentials)| Rc::clone(credentials))
            .ok_or_else(|| "no file of the new CA yet".to_owned())
    }

    /// The file it lives on, for the report.
    pub fn file(&self) -> String {
        let held = self.credentials.borrow();
        held.as_ref().map(|(chosen, _)| self.files[*chosen].0.path().display().to_string()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::kubeconfig::Trust;
    use super::super::kubeconfig::tests::{Ca, authority, kubeconfig};
    use super::*;

    struct Lab {
        dir: tempfile::TempDir,
        first: Ca,
        second: Ca,
    }

    impl Lab {
        fn new() -> Lab {
            let lab = Lab { dir: tempfile::tempdir().unwrap(), first: authority(), second: authority() };
            for node in ["cp-1", "cp-2"] {
                lab.write(node, &kubeconfig(&lab.first, &[&lab.first]));
            }
            lab
        }

        fn path(&self, node: &str) -> PathBuf {
            self.dir.path().join(node)
        }

        fn write(&self, node: &str, text: &str) {
            let temporary = self.path("temporary");
            std::fs::write(&temporary, text).unwrap();
            std::fs::rename(&temporary, self.path(node)).unwrap();
        }

        fn newcomer(&self) -> Newcomer {
            let files: Vec<_> =
                ["cp-1", "cp-2"].map(|node| KubeconfigFile::new(self.path(node), Trust::OwnIssuer)).into();
            let issuer = files[0].current().unwrap().issuer.clone();
            Newcomer::new(issuer, files)
        }
    }

    #[test]
    fn it_comes_when_one_file_has_another_issuer() {
        let lab = Lab::new();
        let newcomer = lab.newcomer();
        assert_eq!(newcomer.look(), News::Nothing);
        assert!(newcomer.current().is_err());
        lab.write("cp-2", &kubeconfig(&lab.second, &[&lab.first, &lab.second]));
        assert_eq!(newcomer.look(), News::Arrived);
        assert!(newcomer.file().ends_with("cp-2"));
        lab.write("cp-1", &kubeconfig(&lab.second, &[&lab.second]));
        assert_eq!(newcomer.look(), News::Nothing);
        assert!(!newcomer.has_left());
    }

    #[test]
    fn a_file_without_the_new_ca_is_not_enough() {
        let lab = Lab::new();
        let newcomer = lab.newcomer();
        lab.write("cp-1", &kubeconfig(&lab.second, &[&lab.first]));
        assert_eq!(newcomer.look(), News::Nothing);
    }

    #[test]
    fn it_reads_its_file_again_and_survives_its_absence() {
        let lab = Lab::new();
        let newcomer = lab.newcomer();
        lab.write("cp-1", &kubeconfig(&lab.second, &[&lab.second]));
        newcomer.look();
        let before = newcomer.current().unwrap();
        std::fs::remove_file(lab.path("cp-1")).unwrap();
        assert_eq!(newcomer.look(), News::Nothing);
        assert!(Rc::ptr_eq(&before, &newcomer.current().unwrap()));
        lab.write("cp-1", &kubeconfig(&lab.second, &[&lab.second]));
        newcomer.look();
        assert!(!Rc::ptr_eq(&before, &newcomer.current().unwrap()));
    }

    #[test]
    fn it_leaves_when_a_file_goes_back_to_the_old_ca() {
        let lab = Lab::new();
        let newcomer = lab.newcomer();
        lab.write("cp-1", &kubeconfig(&lab.second, &[&lab.first, &lab.second]));
        newcomer.look();
        lab.write("cp-1", &kubeconfig(&lab.first, &[&lab.first]));
        assert!(newcomer.has_left());
    }
}
