module portcullis.test/filter

go 1.24
