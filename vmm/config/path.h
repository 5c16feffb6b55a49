/*
 * Relative file names in a configuration.
 */
#ifndef VMM_CONFIG_PATH_H
#define VMM_CONFIG_PATH_H

/*
 * path as seen from folder ("" is the current directory), as an absolute path without leading "." and "..". The file
 * need not exist. Where folder itself does not exist the two are just joined. The caller frees the result; NULL: out of
 * memory.
 */
char *config_path_resolve(const char *folder, const char *path);

/* The folder that file lies in, for config_path_resolve(). The caller frees it; NULL: out of memory. */
char *config_path_folder(const char *file);

#endif
