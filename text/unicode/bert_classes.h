// Character classes as the reference library's BERT parts see them: those of an older Unicode than
// its other parts use.
//
// Pure and thread-safe; a look-up is a binary search.
#pragma once

namespace trireme::text {

// What BertPreTokenizer and Punctuation split at.
bool bert_punctuation(char32_t c);
// What clean_text removes.
bool bert_drops(char32_t c);
// What strip_accents removes from decomposed text.
bool bert_accent(char32_t c);
// What the normalizer StripAccents removes: a mark, but of no younger Unicode than its tables.
bool strippable_mark(char32_t c);

}  // namespace trireme::text
