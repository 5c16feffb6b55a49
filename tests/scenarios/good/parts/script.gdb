info threads
