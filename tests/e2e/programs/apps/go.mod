module e2e.local/apps

go 1.26
