/*
 * Any bytes as a configuration file: an error with a sentence, or a configuration that prints and reads back the same.
 */
#include "vmm/config/config.h"

#include "fuzz_require.h"
#include "fuzz_sentence.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *print(const struct config *config, size_t *length)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, length);

    require(out != NULL);
    config_print(config, out);
    require(fclose(out) == 0);
    return text;
}

static void read_back(const struct config *config)
{
    struct config again;
    struct error error;
    size_t length;
    size_t length_again;
    char *text = print(config, &length);

    require(config_defaults(&again, &error) == 0);
    if (length > CONFIG_MAX_FILE_SIZE) {
        require(config_parse(&again, "/again.toml", text, length, &error) < 0);
        require(fuzz_is_sentence(&error));
    } else {
        require(config_parse(&again, "/again.toml", text, length, &error) == 0);
        char *text_again = print(&again, &length_again);
        require(length == length_again && memcmp(text, text_again, length) == 0);
        free(text_again);
    }
    free(text);
    config_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config;
    struct error error = {0};

    require(config_defaults(&config, &error) == 0);
    if (config_parse(&config, "/fuzz.toml", (const char *)data, size, &error) == 0) {
        if (config_check(&config, &error) < 0)
            require(fuzz_is_sentence(&error));
        read_back(&config);
    } else {
        require(fuzz_is_sentence(&error));
    }
    config_free(&config);
    return 0;
}
