module moorage.test/hello

go 1.21
