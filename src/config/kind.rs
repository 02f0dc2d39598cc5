//! The seam between the configuration and the kinds of module: a `[modules.NAME]` table is read by the kind that its `type`
//! names. The configuration itself knows only what every table has.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::expand::Expander;
use super::section::Document;

/// What every module's table has.
pub trait ModuleTable {
    /// Returns the route of the module.
    fn path(&self) -> &str;

    /// Returns the number of streams that the module serves at once.
    fn rows(&self) -> usize;

    /// Reports values that are well-formed and mean nothing, or nothing this server can run.
    fn check(&self, checks: &mut Checks<'_, '_>);
}

/// A kind of module.
pub struct Kind<M> {
    /// Values of `type` that mean this kind.
    pub types: &'static [&'static str],
    /// Reads the table. `None` after a mistake that leaves nothing to go on with.
    pub read: fn(TableReader<'_, '_>) -> Option<M>,
}

/// All kinds of module there are.
pub struct Kinds<M: 'static> {
    pub kinds: &'static [Kind<M>],
    /// Values of `type` that Kyutai's server knows and this one does not.
    pub unsupported: &'static [&'static str],
}

impl<M> Kinds<M> {
    fn find(&self, name: &str) -> Option<&Kind<M>> {
        self.kinds.iter().find(|kind| kind.types.contains(&name))
    }

    /// The values of `type` that there are, for messages.
    fn names(&self) -> String {
        let names: Vec<&str> = self.kinds.iter().flat_map(|kind| kind.types).copied().collect();
        names.join(", ")
    }
}

/// One module's table, ready to be read.
pub struct TableReader<'d, 'i> {
    document: &'d mut Document<'i>,
    vars: &'d Expander,
    name: &'d str,
    value: Spanned<DeValue<'i>>,
}

impl<'i> TableReader<'_, 'i> {
    /// Reads the table as a `T`. `files` names the keys of files with their values, which may hold variables and be relative to
    /// the configuration. `good` lends values to go on
    /// with after a mistake; `inert` names keys that are accepted without effect.
    pub fn read<T: DeserializeOwned>(
        self,
        good: Option<&DeTable<'i>>,
        inert: &[&str],
        files: impl FnOnce(&mut T) -> Vec<(&'static str, &mut String)>,
    ) -> Option<T> {
        let Self {
            document,
            vars,
            name,
            value,
        } = self;
        let mut table: T = document.read(&["modules", name], value, good, inert)?;
        for (key, string) in files(&mut table) {
            *string = document.expand(&["modules", name, key], string, vars);
            if let Some(there) = vars.place(Path::new(string.as_str())) {
                *string = there.to_string_lossy().into_owned();
            }
        }
        Some(table)
    }
}

/// Where the checks of one module's table report.
pub struct Checks<'d, 'i> {
    document: &'d mut Document<'i>,
    name: &'d str,
}

impl Checks<'_, '_> {
    /// Reports a mistake at `key` (dots between tables) unless reading the file found one there already: its repair would be
    /// judged, not the file.
    pub fn wrong(&mut self, key: &str, message: impl Into<String>) {
        let mut path = vec!["modules", self.name];
        path.extend(key.split('.'));
        if !self.document.is_bad(&path) {
            self.document.mistake(&path, message.into());
        }
    }
}

/// Lets `module`, the table `name`, report what is wrong with it.
pub(super) fn check(name: &str, module: &impl ModuleTable, document: &mut Document<'_>) {
    module.check(&mut Checks { document, name });
}

/// Reads all `[modules.NAME]` tables.
pub(super) fn read<M>(document: &mut Document<'_>, vars: &Expander, kinds: &Kinds<M>) -> BTreeMap<String, M> {
    let mut modules = BTreeMap::new();
    let Some(value) = document.take("modules") else {
        let message = "no [modules.NAME] table: the server would have nothing to serve";
        document.mistake(&[], message.to_owned());
        return modules;
    };
    let DeValue::Table(tables) = value.into_inner() else {
        let message = "must hold one table for each module, like [modules.NAME]";
        document.mistake(&["modules"], message.to_owned());
        return modules;
    };
    for (name, value) in tables {
        let name = name.into_inner().into_owned();
        if let Some(module) = read_one(document, vars, kinds, &name, value) {
            modules.insert(name, module);
        }
    }
    modules
}

fn read_one<'i, M>(
    document: &mut Document<'i>,
    vars: &Expander,
    kinds: &Kinds<M>,
    name: &str,
    mut value: Spanned<DeValue<'i>>,
) -> Option<M> {
    let path = ["modules", name];
    let DeValue::Table(table) = value.get_mut() else {
        document.mistake(&path, "must be a table with `type` and `path`".to_owned());
        return None;
    };
    let Some(kind) = table.remove("type") else {
        document.mistake(&path, format!("has no `type`; use one of {}", kinds.names()));
        return None;
    };
    let kind = kind.get_ref().as_str().unwrap_or_default();
    if let Some(kind) = kinds.find(kind) {
        return (kind.read)(TableReader {
            document,
            vars,
            name,
            value,
        });
    }
    let message = if kinds.unsupported.contains(&kind) {
        format!(
            "modules of type `{kind}` are not supported yet; this server runs {}. Remove [modules.{name}] to start without it",
            kinds.names()
        )
    } else {
        format!("unknown type of module; use one of {}", kinds.names())
    };
    document.mistake(&["modules", name, "type"], message);
    None
}
