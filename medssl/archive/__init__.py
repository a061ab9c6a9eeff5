"""From unsorted files to store rows: find, read, group, judge, pseudonymise, write."""
