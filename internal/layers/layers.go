// Package layers has only a test: it holds every import of the module to the table of what each folder may use.
package layers
