//! Reads Rust far enough to see which names it uses: tokens without comments and literals, and the module each is in.

use std::iter::Peekable;
use std::path::Path;
use std::str::Chars;

/// A file of the repository.
pub struct Source {
    /// Relative to the root of the repository, with `/`.
    pub path: String,
    pub text: String,
    /// Empty, unless the file is Rust.
    pub tokens: Vec<Token>,
}

/// A word, `::`, or another single character of punctuation.
pub struct Token {
    pub text: String,
    /// Counted from 1.
    pub line: usize,
    /// Modules opened with `mod name { .. }` in this file, outermost first.
    pub inline_modules: Vec<String>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let is_rust = Path::new(path).extension().is_some_and(|extension| extension == "rs");
        let tokens = if is_rust { with_modules(Lexer::new(text).collect()) } else { Vec::new() };
        Source { path: path.into(), text: text.into(), tokens }
    }

    /// Returns the modules that the file itself stands for, below the crate's root; nothing outside `src`.
    pub fn modules(&self) -> Vec<&str> {
        let Some(path) = self.path.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs")) else {
            return Vec::new();
        };
        path.split('/').filter(|&name| name != "mod" && path != "lib").collect()
    }

    /// Returns the top-level module that the file belongs to. `lib.rs`, which declares them, belongs to none.
    pub fn top_module(&self) -> Option<&str> {
        self.modules().first().copied()
    }

    /// Returns the text of the token at `index`, or nothing past the end.
    pub fn at(&self, index: usize) -> &str {
        self.tokens.get(index).map_or("", |token| &token.text)
    }

    /// Returns what can follow `::` at `index`: one name, or the first name of each member of a group.
    pub fn names_at(&self, index: usize) -> Vec<&str> {
        if self.at(index) != "{" {
            return vec![self.at(index)];
        }
        let (mut names, mut depth, mut index) = (Vec::new(), 0_usize, index);
        loop {
            let (before, text) = (self.at(index.saturating_sub(1)), self.at(index));
            match text {
                "" => return names,
                "{" => depth += 1,
                "}" if depth == 1 => return names,
                "}" => depth -= 1,
                _ if depth == 1 && (before == "{" || before == ",") => names.push(text),
                _ => {}
            }
            index += 1;
        }
    }
}

/// Notes in each token which inline modules it is in.
fn with_modules(mut tokens: Vec<Token>) -> Vec<Token> {
    let mut open: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    for index in 0..tokens.len() {
        tokens[index].inline_modules = open.iter().map(|(name, _)| name.clone()).collect();
        match tokens[index].text.as_str() {
            "{" => {
                depth += 1;
                if index >= 2 && tokens[index - 2].text == "mod" {
                    open.push((tokens[index - 1].text.clone(), depth));
                }
            }
            "}" => {
                open.pop_if(|(_, opened)| *opened == depth);
                depth -= 1;
            }
            _ => {}
        }
    }
    tokens
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Lexer<'a> {
        Lexer { rest: text.chars().peekable(), line: 1 }
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn peek_second(&self) -> Option<char> {
        self.rest.clone().nth(1)
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(char) = self.bump() {
            match (char, self.peek()) {
                ('/', Some('*')) => depth += 1,
                ('*', Some('/')) => depth -= 1,
                _ => continue,
            }
            self.bump();
            if depth == 0 {
                return;
            }
        }
    }

    /// Skips to behind the closing `quote`.
    fn skip_quoted(&mut self, quote: char) {
        while let Some(char) = self.bump() {
            match char {
                '\\' => drop(self.bump()),
                _ if char == quote => return,
                _ => {}
            }
        }
    }

    /// Skips `#"..."#` with any number of `#`. Answers false where it is not that, as in `r#type`.
    fn skip_raw_string(&mut self) -> bool {
        let hashes = self.rest.clone().take_while(|&char| char == '#').count();
        if self.rest.clone().nth(hashes) != Some('"') {
            return false;
        }
        let end: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
        for _ in 0..=hashes {
            self.bump();
        }
        while !self.rest.clone().take(end.len()).eq(end.chars()) && self.bump().is_some() {}
        for _ in 0..end.len() {
            self.bump();
        }
        true
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(char) = self.rest.next_if(|char| char.is_alphanumeric() || *char == '_') {
            word.push(char);
        }
        word
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let char = self.peek()?;
            let line = self.line;
            let token = |text: String| Some(Token { text, line, inline_modules: Vec::new() });
            match (char, self.peek_second()) {
                ('/', Some('/')) => while self.peek().is_some_and(|char| char != '\n') && self.bump().is_some() {},
                ('/', Some('*')) => self.skip_block_comment(),
                ('"', _) => {
                    self.bump();
                    self.skip_quoted('"');
                }
                ('\'', second) => {
                    self.bump();
                    let literal = second == Some('\\') || self.peek_second() == Some('\'');
                    // Otherwise it is a lifetime or a label, and no name of interest.
                    if literal { self.skip_quoted('\'') } else { drop(self.word()) }
                }
                (':', Some(':')) => {
                    self.bump();
                    self.bump();
                    return token("::".into());
                }
                _ if char.is_alphanumeric() || char == '_' => {
                    let word = self.word();
                    match (word.as_str(), self.peek()) {
                        ("r" | "br" | "cr", Some('"' | '#')) if self.skip_raw_string() => {}
                        ("b" | "c", Some('"')) => {}
                        // A raw identifier is no keyword.
                        ("r", Some('#')) => {
                            self.bump();
                            return token(format!("r#{}", self.word()));
                        }
                        _ => return token(word),
                    }
                }
                _ if char.is_whitespace() => drop(self.bump()),
                _ => {
                    self.bump();
                    return token(char.into());
                }
            }
        }
    }
}
