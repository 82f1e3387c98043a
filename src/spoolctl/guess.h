/* What a configuration seems to say that cannot be read as a whole. */
#pragma once

/* The text after the first `key:` of the file, JSON or YAML, wherever it stands; NULL where
 * there is none, or where it would have to be understood to be read. A new string. */
char *guess_setting(const char *path, const char *key);
