/* Feeds files to a fuzz target, for compilers without a fuzzer: each file
 * named, and each in the directories named. A target that breaks ends the
 * process; the file is named before. */
#include "fuzz.h"

#include <dirent.h>

/* Targets without it. */
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

static size_t replayed;

static void replay_file(const char *path)
{
	uint8_t *data = NULL;
	size_t size = 0;
	FILE *out = open_memstream((char **)&data, &size), *in = fopen(path, "r");
	MUST(out != NULL && in != NULL);
	for (int c = fgetc(in); c != EOF; c = fgetc(in))
		fputc(c, out);
	MUST(!ferror(in) && fclose(in) == 0 && fclose(out) == 0);
	/* Of its exact size, so that a byte read beyond it is seen. */
	uint8_t *exact = malloc(size);
	MUST(exact != NULL || size == 0);
	if (size > 0)
		memcpy(exact, data, size);
	free(data);
	printf("%s\n", path);
	fflush(stdout);
	const char *slash = strrchr(path, '/');
	fuzz_file = slash == NULL ? path : slash + 1;
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	replayed++;
}

static int is_name(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void replay_directory(const char *path)
{
	struct dirent **entries = NULL;
	int n = scandir(path, &entries, is_name, alphasort);
	MUST(n >= 0);
	for (int i = 0; i < n; i++) {
		char file[4096];
		snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
		replay_file(file);
		free(entries[i]);
	}
	free(entries);
}

int main(int argc, char **argv)
{
	LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++) {
		struct stat st;
		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
			replay_directory(argv[i]);
		else
			replay_file(argv[i]);
	}
	printf("%zu replayed\n", replayed);
	return replayed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
