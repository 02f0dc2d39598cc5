//! What is said of functions, and how long they are, read from the syntax of every file.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A function of `src`, tests left out.
pub(super) struct Function {
    /// File and line.
    pub(super) at: String,
    pub(super) name: String,
    /// Lines from its signature to its end.
    pub(super) lines: usize,
    /// Other crates or folders can call it.
    pub(super) is_public: bool,
    pub(super) returns_result: bool,
    pub(super) docs: String,
}

/// Every function of `files`.
pub(super) fn functions(files: &[(String, String)]) -> Vec<Function> {
    let mut found = Vec::new();
    for (file, text) in files {
        if file.ends_with("tests.rs") || file.contains("/tests/") {
            continue;
        }
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut visitor = Functions {
            file,
            in_public_trait: false,
            found: &mut found,
        };
        visitor.visit_file(&syntax);
    }
    found
}

struct Functions<'a> {
    file: &'a str,
    in_public_trait: bool,
    found: &'a mut Vec<Function>,
}

impl Functions<'_> {
    fn add(&mut self, signature: &syn::Signature, attrs: &[syn::Attribute], is_public: bool, end: usize) {
        let start = signature.span().start().line;
        let returns_result = match &signature.output {
            syn::ReturnType::Type(_, of) => match &**of {
                syn::Type::Path(path) => path
                    .path
                    .segments
                    .last()
                    .is_some_and(|last| last.ident.to_string().ends_with("Result")),
                _ => false,
            },
            syn::ReturnType::Default => false,
        };
        self.found.push(Function {
            at: format!("{}:{start}", self.file),
            name: signature.ident.to_string(),
            lines: end + 1 - start,
            is_public,
            returns_result,
            docs: docs(attrs),
        });
    }
}

fn docs(attrs: &[syn::Attribute]) -> String {
    let mut text = String::new();
    for attribute in attrs {
        if let syn::Meta::NameValue(meta) = &attribute.meta
            && meta.path.is_ident("doc")
            && let syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(line),
                ..
            }) = &meta.value
        {
            text.push_str(&line.value());
            text.push('\n');
        }
    }
    text
}

fn is_test(attrs: &[syn::Attribute]) -> bool {
    let condition = |attribute: &syn::Attribute| attribute.parse_args::<syn::Ident>().ok();
    attrs
        .iter()
        .any(|a| a.path().is_ident("cfg") && condition(a).is_some_and(|condition| condition == "test"))
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            self.add(
                &item.sig,
                &item.attrs,
                is_public(&item.vis),
                item.block.span().end().line,
            );
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(
            &item.sig,
            &item.attrs,
            is_public(&item.vis),
            item.block.span().end().line,
        );
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.in_public_trait = is_public(&item.vis);
        visit::visit_item_trait(self, item);
        self.in_public_trait = false;
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.add(
            &item.sig,
            &item.attrs,
            self.in_public_trait,
            item.span().end().line,
        );
        visit::visit_trait_item_fn(self, item);
    }
}
