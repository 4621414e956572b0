//! The modules of a crate as a graph: a file is a node, and the names of other files in its code are its edges.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

/// The name of a module below its crate: `["delta_rs", "write"]`; the crate itself has none.
pub(crate) type Name = Vec<String>;

/// The modules of a crate by name.
#[derive(Default)]
pub(crate) struct Modules(pub(crate) BTreeMap<Name, Module>);

/// A file with a module.
#[derive(Default)]
pub(crate) struct Module {
    pub(crate) file: PathBuf,
    /// Lines with code, without tests.
    pub(crate) lines: usize,
    children: BTreeSet<String>,
    items: BTreeSet<String>,
    imports: Vec<Import>,
    /// Paths in code, as written.
    paths: BTreeSet<Name>,
    /// Every identifier in code.
    names: BTreeSet<String>,
}

struct Import {
    /// Its local name; `*` for a glob import.
    name: String,
    path: Name,
    is_exported: bool,
}

impl Modules {
    /// Reads a crate from its root, such as `lib.rs`.
    pub(crate) fn read(root: &Path) -> Self {
        let mut modules = Self::default();
        modules.read_file(root, root.parent().unwrap(), Name::new());
        modules
    }

    /// `folder` is where the files of child modules are.
    fn read_file(&mut self, file: &Path, folder: &Path, name: Name) {
        let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let mut module = Module { file: file.to_path_buf(), ..Module::default() };
        let mut lines = BTreeSet::new();
        for item in parsed.items.iter().filter(|item| !is_test(attributes(item))) {
            if let Item::Mod(child) = item
                && child.content.is_none()
            {
                let child = child.ident.to_string();
                module.children.insert(child.clone());
                let candidates = [folder.join(format!("{child}.rs")), folder.join(&child).join("mod.rs")];
                let path = candidates.iter().find(|path| path.exists()).unwrap_or_else(|| panic!("no file of {child}"));
                self.read_file(path, &folder.join(&child), [&name[..], &[child]].concat());
            }
            module.take(item);
            lines_of(quote(item), &mut lines);
        }
        module.lines = lines.len();
        self.0.insert(name, module);
    }

    /// The other modules that each module names.
    pub(crate) fn edges(&self) -> BTreeMap<&Name, BTreeSet<Name>> {
        self.0.iter().map(|(name, module)| (name, self.edges_of(name, module))).collect()
    }

    fn edges_of(&self, name: &Name, module: &Module) -> BTreeSet<Name> {
        let imports = module.imports.iter();
        let used = imports.filter(|import| !import.is_exported || module.names.contains(&import.name));
        let paths = used.map(|import| &import.path).chain(&module.paths);
        let mut edges: BTreeSet<_> = paths.filter_map(|path| self.resolve(name, path, &mut BTreeSet::new())).collect();
        edges.remove(name);
        edges
    }

    /// The module in which a path resolves; `None` outside the crate.
    fn resolve(&self, from: &Name, path: &[String], seen: &mut BTreeSet<(Name, String)>) -> Option<Name> {
        let (first, rest) = path.split_first()?;
        let (mut at, rest) = match first.as_str() {
            "crate" => (Name::new(), rest),
            "self" => (from.clone(), rest),
            "super" => (from.split_last()?.1.to_vec(), rest),
            _ if self.has(from, first, seen) => (from.clone(), path),
            _ => return None,
        };
        for (n, segment) in rest.iter().enumerate() {
            let module = self.0.get(&at)?;
            if segment == "super" {
                at.pop();
            } else if module.children.contains(segment) {
                at.push(segment.clone());
            } else if module.items.contains(segment) || segment == "*" {
                return Some(at);
            } else if seen.insert((at.clone(), segment.clone())) {
                let named = module.imports.iter().find(|import| import.name == *segment);
                let Some(import) = named.or_else(|| self.glob(&at, module, segment, seen)) else { return Some(at) };
                let mut further = import.path.clone();
                if import.name == "*" {
                    further.pop();
                    further.push(segment.clone());
                }
                further.extend(rest[n + 1..].iter().cloned());
                return self.resolve(&at, &further, seen);
            } else {
                return Some(at);
            }
        }
        Some(at)
    }

    /// The glob import of a module that contains a name.
    fn glob<'m>(
        &self,
        at: &Name,
        module: &'m Module,
        name: &str,
        seen: &mut BTreeSet<(Name, String)>,
    ) -> Option<&'m Import> {
        module.imports.iter().filter(|import| import.name == "*").find(|import| {
            if !seen.insert((at.clone(), import.path.join("::"))) {
                return false;
            }
            let of = self.resolve(at, &import.path, seen);
            of.and_then(|of| self.0.get(&of)).is_some_and(|of| {
                of.items.contains(name) || of.children.contains(name) || of.imports.iter().any(|i| i.name == name)
            })
        })
    }

    fn has(&self, at: &Name, name: &str, seen: &mut BTreeSet<(Name, String)>) -> bool {
        self.0.get(at).is_some_and(|module| {
            module.children.contains(name)
                || module.items.contains(name)
                || module.imports.iter().any(|import| import.name == name)
                || self.glob(at, module, name, seen).is_some()
        })
    }
}

impl Module {
    fn take(&mut self, item: &Item) {
        match item {
            Item::Use(import) => {
                let is_exported = !matches!(import.vis, Visibility::Inherited);
                flatten(&import.tree, &mut Name::new(), is_exported, &mut self.imports);
                return;
            }
            Item::Const(item) => _ = self.items.insert(item.ident.to_string()),
            Item::Enum(item) => _ = self.items.insert(item.ident.to_string()),
            Item::Fn(item) => _ = self.items.insert(item.sig.ident.to_string()),
            Item::Macro(item) => self.items.extend(item.ident.iter().map(|ident| ident.to_string())),
            Item::Mod(item) if item.content.is_some() => _ = self.items.insert(item.ident.to_string()),
            Item::Static(item) => _ = self.items.insert(item.ident.to_string()),
            Item::Struct(item) => _ = self.items.insert(item.ident.to_string()),
            Item::Trait(item) => _ = self.items.insert(item.ident.to_string()),
            Item::Type(item) => _ = self.items.insert(item.ident.to_string()),
            Item::Union(item) => _ = self.items.insert(item.ident.to_string()),
            _ => {}
        }
        self.visit_item(item);
    }
}

impl<'ast> Visit<'ast> for Module {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Name = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if path.leading_colon.is_none() {
            self.paths.insert(segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_ident(&mut self, ident: &'ast proc_macro2::Ident) {
        self.names.insert(ident.to_string());
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        paths_of(call.tokens.clone(), &mut self.paths, &mut self.names);
        visit::visit_macro(self, call);
    }

    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        // An import in a function counts like one of the file.
        flatten(&import.tree, &mut Name::new(), false, &mut self.imports);
    }
}

/// The paths in the arguments of a macro.
fn paths_of(tokens: TokenStream, paths: &mut BTreeSet<Name>, names: &mut BTreeSet<String>) {
    let (mut path, mut colons) = (Name::new(), 0);
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                names.insert(ident.to_string());
                if colons != 2 {
                    paths.insert(std::mem::take(&mut path));
                }
                path.push(ident.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            other => {
                paths.insert(std::mem::take(&mut path));
                colons = 0;
                if let TokenTree::Group(group) = other {
                    paths_of(group.stream(), paths, names);
                }
            }
        }
    }
    paths.insert(path);
}

fn flatten(tree: &UseTree, path: &mut Name, is_exported: bool, imports: &mut Vec<Import>) {
    let mut import = |name: &str, path: Name| imports.push(Import { name: name.to_string(), path, is_exported });
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            flatten(&part.tree, path, is_exported, imports);
            path.pop();
        }
        UseTree::Name(last) if last.ident == "self" => import(&path.last().cloned().unwrap_or_default(), path.clone()),
        UseTree::Name(last) => import(&last.ident.to_string(), [&path[..], &[last.ident.to_string()]].concat()),
        UseTree::Rename(last) => import(&last.rename.to_string(), [&path[..], &[last.ident.to_string()]].concat()),
        UseTree::Glob(_) => import("*", [&path[..], &["*".to_string()]].concat()),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, path, is_exported, imports)),
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}

fn quote(item: &Item) -> TokenStream {
    let mut tokens = TokenStream::new();
    quote::ToTokens::to_tokens(item, &mut tokens);
    tokens
}

/// The lines on which a token begins or ends, without documentation.
fn lines_of(tokens: TokenStream, lines: &mut BTreeSet<usize>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                let is_doc = |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.stream().to_string().starts_with("doc ="));
                if tokens.next_if(is_doc).is_none() {
                    lines.insert(punct.span().start().line);
                }
            }
            TokenTree::Group(group) => {
                lines.insert(group.span_open().start().line);
                lines_of(group.stream(), lines);
                lines.insert(group.span_close().start().line);
            }
            other => lines.extend(other.span().start().line..=other.span().end().line),
        }
    }
}

/// The import cycles, largest first.
pub(crate) fn circles(edges: &BTreeMap<&Name, BTreeSet<Name>>) -> Vec<Vec<Name>> {
    let reaches = |from: &Name| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(name) = next.pop() {
            let of = edges.get(&name).into_iter().flatten();
            next.extend(of.filter(|name| seen.insert(Name::clone(name))).cloned());
        }
        seen
    };
    let reached: BTreeMap<_, _> = edges.keys().map(|name| (*name, reaches(name))).collect();
    let mut left: BTreeSet<&Name> = edges.keys().copied().filter(|name| reached[name].contains(*name)).collect();
    let mut circles = Vec::new();
    while let Some(first) = left.first().copied() {
        let circle: Vec<Name> = left
            .iter()
            .filter(|n| reached[first].contains(**n) && reached[*n].contains(first))
            .map(|n| (*n).clone())
            .collect();
        left.retain(|name| !circle.contains(name));
        circles.push(circle);
    }
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}
