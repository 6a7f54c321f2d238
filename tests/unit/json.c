// SPDX-License-Identifier: MIT
/* The JSON scanner against RFC 8259, token by token. */
#include "format/json.h"
#include "parse.h"

/* Scans text; writes one letter a token to `out`, strings and numbers whole. */
static int scan(const char *text, uint64_t len, char *out, struct slc_diag *diag)
{
	static const char letters[] = ".{}[]ksntf0";
	struct slc_json_token tok = { .kind = SLC_JSON_NULL };
	uint8_t *copy = malloc(len + 1);
	struct slc_json j;
	int err;

	memcpy(copy, text, len);
	*out = 0;
	err = slc_json_init(&j, copy, len, 100, diag);
	while (!err && tok.kind != SLC_JSON_END) {
		err = slc_json_next(&j, &tok);
		if (err || tok.kind == SLC_JSON_END)
			break;
		out += sprintf(out, "%c", letters[tok.kind]);
		if (tok.text) {
			EXPECT_LE(tok.len, len);
			memcpy(out, tok.text, tok.len);
			out += tok.len;
			out += sprintf(out, "|");
		}
	}
	free(copy);
	return err;
}

static void good(const char *text, const char *tokens)
{
	struct slc_diag diag = { 0 };
	char out[1024];

	EXPECT_EQ(scan(text, strlen(text), out, &diag), 0);
	EXPECT_STREQ(out, tokens);
	EXPECT_STREQ(diag.what, "");
}

static void refused(const char *text, uint64_t off, const char *what)
{
	struct slc_diag diag = { 0 };
	char out[1024];

	EXPECT_EQ(scan(text, strlen(text), out, &diag), -EBADMSG);
	EXPECT_HAS(diag.what, what);
	EXPECT_EQ(diag.off, 100 + off);
}

TEST(documents_of_the_grammar_are_read)
{
	good("{}", "{}");
	good(" [ ] ", "[]");
	good("[1,-2.5e+3,0,-0,1E2]", "[n1|n-2.5e+3|n0|n-0|n1E2|]");
	good("{\"a\":{\"b\":[true,false,null]},\"c\":\"d\"}",
	     "{ka|{kb|[tf0]}kc|sd|}");
	good("\t\r\n \"x\"\n", "sx|");
	good("3", "n3|");
	good("{ \"\" : \"\" , \"\" : [ [ ] , { } ] }", "{k|s|k|[[]{}]}");
}

TEST(escapes_are_decoded_in_place)
{
	good("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "s\"\\/\b\f\n\r\t|");
	good("\"\\u0041\\u00e9\\u20AC\\uD83d\\ude00.\"",
	     "sA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80.|");
	good("\"\xc3\xa9\xf0\x9f\x98\x80\"", "s\xc3\xa9\xf0\x9f\x98\x80|");
	good("\"\\uffff\\ud800\\udc00\\udbff\\udfff\"",
	     "s\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf|");
}

TEST(what_the_grammar_forbids_is_refused_where_it_stands)
{
	refused("", 0, "ends where a value");
	refused("   ", 3, "ends where a value");
	refused("{", 1, "ends where a key");
	refused("[1,]", 3, "']' (0x5d) in the JSON text where a value");
	refused("{\"a\":1,}", 7, "where a key should be");
	refused("[1 2]", 3, "where ',' or ']'");
	refused("{\"a\":1 \"b\":2}", 7, "where ',' or '}'");
	refused("{\"a\" 1}", 5, "where ':'");
	refused("{a:1}", 1, "where a key");
	refused("{1:1}", 1, "where a key");
	refused("[1}", 2, "where ',' or ']'");
	refused("{\"a\":1]", 6, "where ',' or '}'");
	refused("{} {}", 3, "where the end should be");
	refused("1 1", 2, "where the end should be");
	refused("01", 0, "begins with 0");
	refused("-", 1, "ends where a digit");
	refused("1.", 2, "ends where a digit");
	refused("1.e1", 2, "where a digit");
	refused("1e", 2, "ends where a digit");
	refused("+1", 0, "where a value");
	refused(".5", 0, "where a value");
	refused("NaN", 0, "where a value");
	refused("Infinity", 0, "where a value");
	refused("nul", 0, "where a value");
	refused("truE", 0, "where a value");
	refused("truex", 4, "where the end");
	refused("'a'", 0, "where a value");
	refused("// c\n1", 0, "where a value");
	refused("\xef\xbb\xbf{}", 0, "where a value");
	refused("\"a", 0, "ends inside a string");
	refused("\"a\nb\"", 2, "control character 0x0a");
	refused("\"\\x41\"", 1, "\\x is no escape");
	refused("\"\\u12g4\"", 1, "without four hexadecimal");
	refused("\"\\u123", 1, "without four hexadecimal");
	refused("\"\\", 2, "ends where the end of an escape");
	refused("\"\\ud800\"", 1, "half of a surrogate");
	refused("\"\\udc00\"", 1, "half of a surrogate");
	refused("\"\\ud800\\u0041\"", 1, "half of a surrogate");
	refused("\"\\ud800\\ud800\"", 1, "half of a surrogate");
}

TEST(a_nul_in_the_text_is_no_end)
{
	struct slc_diag diag = { 0 };
	char out[64];

	EXPECT_EQ(scan("{}\0", 3, out, &diag), -EBADMSG);
	EXPECT_EQ(diag.off, 102);
	EXPECT_EQ(scan("\"\0\"", 3, out, &diag), -EBADMSG);
	EXPECT_HAS(diag.what, "control character 0x00");
}

TEST(levels_to_64_are_read_and_the_65th_is_refused)
{
	struct slc_diag diag = { 0 };
	char text[600], out[1024];

	for (int objects = 0; objects < 2; objects++)
		for (int depth = 1; depth <= 65; depth++) {
			char *p = text;

			for (int i = 0; i < depth; i++)
				p += sprintf(p, objects && i ? "{\"\":" : "[");
			if (objects && depth > 1)
				*p++ = '0';
			for (int i = depth; i > 0; i--)
				*p++ = objects && i > 1 ? '}' : ']';
			EXPECT_EQ(scan(text, (uint64_t)(p - text), out, &diag),
				  depth <= 64 ? 0 : -EBADMSG);
			if (depth > 64) {
				EXPECT_HAS(diag.what, "deeper than 64");
				EXPECT_EQ(diag.off, objects ? 100 + 1 + 63 * 4 :
							      100 + 64);
			}
		}
}

/* Whether `len` bytes are UTF-8, by decoding every way the long way. */
static bool utf8_slowly(const uint8_t *p, uint64_t len)
{
	while (len) {
		uint32_t cp, least;
		unsigned int more;

		if (*p < 0x80) {
			p++;
			len--;
			continue;
		}
		if ((*p & 0xe0) == 0xc0)
			more = 1, cp = *p & 0x1f, least = 0x80;
		else if ((*p & 0xf0) == 0xe0)
			more = 2, cp = *p & 0xf, least = 0x800;
		else if ((*p & 0xf8) == 0xf0)
			more = 3, cp = *p & 7, least = 0x10000;
		else
			return false;
		if (len < 1 + more)
			return false;
		for (unsigned int i = 1; i <= more; i++) {
			if ((p[i] & 0xc0) != 0x80)
				return false;
			cp = cp << 6 | (p[i] & 0x3f);
		}
		if (cp < least || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
			return false;
		p += 1 + more;
		len -= 1 + more;
	}
	return true;
}

TEST(utf8_is_checked_as_the_definition_says)
{
	static const uint8_t edges[] = { 0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90,
					 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2,
					 0xdf, 0xe0, 0xec, 0xed, 0xee, 0xef,
					 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff };
	const unsigned int n = sizeof(edges);

	for (unsigned int i = 0; i < n * n * n * n; i++) {
		uint8_t b[4] = { edges[i % n], edges[i / n % n],
				 edges[i / n / n % n], edges[i / n / n / n] };

		for (uint64_t len = 1; len <= 4; len++)
			ASSERT_EQ(slc_utf8_check(b, len) == len,
				  utf8_slowly(b, len));
	}
	EXPECT_EQ(slc_utf8_check("12345678\xc3", 9), 8);
	EXPECT_EQ(slc_utf8_check("1234567\xc3\xa9" "0\xff", 11), 10);
}

TEST(numbers_are_integers_only_when_they_are)
{
	static const struct {
		const char *text;
		bool fits;
		uint64_t v;
	} cases[] = {
		{ "0", true, 0 },
		{ "18446744073709551615", true, UINT64_MAX },
		{ "18446744073709551616", false, 0 },
		{ "99999999999999999999999", false, 0 },
		{ "-1", false, 0 },
		{ "-0", false, 0 },
		{ "1.0", false, 0 },
		{ "1e2", false, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct slc_diag diag;
		struct slc_json_token tok;
		struct slc_json j;
		char text[64];
		uint64_t v = 0;

		strcpy(text, cases[i].text);
		ASSERT_EQ(slc_json_init(&j, text, strlen(text), 0, &diag), 0);
		ASSERT_EQ(slc_json_next(&j, &tok), 0);
		EXPECT_EQ(slc_json_u64(&tok, &v), cases[i].fits);
		if (cases[i].fits)
			EXPECT_EQ(v, cases[i].v);
	}
}

TEST(skip_passes_over_exactly_one_value)
{
	char text[] = "[[1,[2,{\"a\":[]}]],{\"b\":{}},\"s\",7]";
	struct slc_diag diag;
	struct slc_json_token tok;
	uint64_t len = strlen(text);
	struct slc_json j;

	ASSERT_EQ(slc_json_init(&j, text, len, 0, &diag), 0);
	ASSERT_EQ(slc_json_next(&j, &tok), 0);
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(slc_json_next(&j, &tok), 0);
		ASSERT_EQ(slc_json_skip(&j, &tok), 0);
	}
	ASSERT_EQ(slc_json_next(&j, &tok), 0);
	EXPECT_EQ(tok.kind, SLC_JSON_NUMBER);
	EXPECT_EQ(tok.off, len - 2);
}

TEST_HARNESS_MAIN
